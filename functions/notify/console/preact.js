// Preact and htm, which come as one file, and the one hook that their version lacks.

export { html, render, Component, createContext, useContext, useEffect, useLayoutEffect, useMemo, useRef, useState } from "./vendor-preact.js";
import { useState } from "./vendor-preact.js";

let last = 0;

// An id that no other element has.
export const useId = () => useState(() => `id${++last}`)[0];
