// Renders templates with the reference implementation. Reads a line of JSON for each, `{"template": …, "data": …}`, and writes one:
// `plain` is what the reference makes of it, `adjusted` what it makes of it with the deliberate differences of
// `botframework::cards::template` built in. Each is `{"refused": …}`, `{"failed": …}` or `{"value": …}`.
'use strict';
const { readFileSync } = require('node:fs');
const { Expression, ExpressionFunctions, ExpressionType, Options } = require('adaptive-expressions');
const { GlobalSettings, Template } = require('adaptivecards-templating');

const LEFT = '${}';

function render({ template, data }) {
    let parsed;
    try {
        parsed = new Template(template);
    } catch (error) {
        return { refused: String(error) };
    }
    try {
        return { value: parsed.expand({ $root: data }) ?? null };
    } catch (error) {
        return { failed: String(error) };
    }
}

function wrap(name, evaluate) {
    const evaluator = ExpressionFunctions.standardFunctions.get(name);
    const original = evaluator.tryEvaluate;
    evaluator.tryEvaluate = (expression, state, options) => evaluate(original, expression, state, options);
}

// As the reference evaluates conditions: an unknown path has no value.
function lenient(options) {
    const result = new Options(options);
    result.nullSubstitution = undefined;
    return result;
}

// Difference: an expression with an unknown path is left as text, also if the path is the argument of a function. The
// reference gives the function the text `${path}`: `count(items)` is 8.
function refuseUnknownPaths() {
    GlobalSettings.getUndefinedFieldValueSubstitutionString = (path) => {
        throw new Error(`unknown path ${path}`);
    };
}

// Difference: `coalesce` and `??` take an unknown path, and an argument that fails, for null. The reference returns the
// text `${path}`, and never the value that stands in for it.
function coalesceUnknownPaths() {
    wrap('coalesce', (_, expression, state, options) => {
        for (const child of expression.children) {
            const { value, error } = child.tryEvaluate(state, lenient(options));
            if (!error && value != null) {
                return { value, error: undefined };
            }
        }
        return { value: undefined, error: undefined };
    });
}

// Difference: an unknown path has no value in `contains`, as in the other tests. In the reference it is the text `${path}`, in
// which something can be found.
function containsNothingUnknown() {
    wrap('contains', (evaluate, expression, state, options) => evaluate(expression, state, lenient(options)));
}

// Difference: `a['b']` is left as text like `a.b` when there is none. In the reference it is nothing, which throws the card away
// when it stands in a text. The item of something that fails is a failure, also in a condition. In the reference it throws the
// card away.
function refuseUnknownElements() {
    wrap('Element', (evaluate, expression, state, options) => {
        const inner = expression.children[0].tryEvaluate(state, options);
        if (!inner || inner.error) {
            return { value: undefined, error: 'no value' };
        }
        const result = evaluate(expression, state, options);
        if (options.nullSubstitution !== undefined && !result.error && result.value === undefined) {
            options.nullSubstitution(String(expression));
        }
        return result;
    });
}

// Difference: `||` is a boolean. In the reference it is null when its last part is.
function decideAlternatives() {
    wrap('||', (evaluate, ...input) => ({ value: evaluate(...input).value ?? false, error: undefined }));
}

// Difference: half of a character is U+FFFD in a URL. In the reference it fails.
function encodeHalves() {
    wrap('uriComponent', (evaluate, expression, state, options) => {
        const { value, error } = expression.children[0].tryEvaluate(state, options);
        return !error && typeof value === 'string'
            ? { value: encodeURIComponent(value.toWellFormed()), error: undefined }
            : evaluate(expression, state, options);
    });
}

// Difference: the least and the greatest of no numbers fail. In the reference they are infinite, which JSON cannot hold.
function refuseInfinity() {
    for (const name of ['min', 'max']) {
        wrap(name, (evaluate, ...input) => {
            const { value, error } = evaluate(...input);
            return { value, error: error ?? (Number.isFinite(value) ? undefined : 'no number') };
        });
    }
}

// Difference: a time is written in ISO 8601. The reference takes what the JavaScript engine takes, such as `0` for the year 2000.
function refuseOtherTimes() {
    wrap('formatDateTime', (evaluate, expression, state, options) => {
        const { value, error } = expression.children[0].tryEvaluate(state, options);
        const isTime = !error && /^\d{4}-\d\d-\d\d(T\d\d:\d\d|$)/.test(value);
        return isTime ? evaluate(expression, state, options) : { value: undefined, error: 'no time' };
    });
}

// Differences: an expression that fails alone in its string is left as text, where the reference throws the card away; so is
// one whose result is no finite number. Null in a text is nothing, where the reference throws the card away. `concat` alone in its string is the function, not the text around expressions.
//
// Difference: a literal alone in its string keeps its type, too. In the reference `${true}` is a text, so that a `$when` of
// it removes the element.
function leaveFailures() {
    const evaluate = Template.internalTryEvaluateExpression;
    const parse = Template.parseInterpolatedString;
    Template.parseInterpolatedString = (string) => {
        const parsed = parse(string);
        if (!(parsed instanceof Expression)) {
            return parsed;
        }
        const [, ...parts] = Expression.parse('`' + string + '`', Expression.lookup).children;
        const isLone = parts.length === 1 && string.startsWith('${');
        const expression = isLone && parsed.type === ExpressionType.Concat && parsed.children[0].value === '' ? parts[0] : parsed;
        expression.isLone = isLone;
        return expression;
    };
    const lone = (expression, context, substitutes) => {
        const alone = { type: 'alone', tryEvaluate: (memory, options) => expression.tryEvaluate(memory, options) };
        try {
            const { value, error } = evaluate(alone, context, substitutes);
            const isInfinite = typeof value === 'number' && !Number.isFinite(value);
            // As JSON has it: nothing is null in an array of an expression.
            const json = Array.isArray(value) ? JSON.parse(JSON.stringify(value)) : value;
            return { value: json, error: error || isInfinite };
        } catch (error) {
            return { value: undefined, error };
        }
    };
    Template.internalTryEvaluateExpression = (expression, context, substitutes) => {
        if (!substitutes) {
            return lone(expression, context, false);
        }
        if (expression.type !== ExpressionType.Concat || expression.isLone) {
            const { value, error } = lone(expression, context, true);
            return { value: error ? LEFT : value, error: undefined };
        }
        const parts = expression.children.map((child) => {
            const { value, error } = lone(child, context, true);
            return error ? LEFT : value ?? '';
        });
        return { value: parts.join(''), error: undefined };
    };
}

// Difference: an item of an array without a value is left out. In the reference it is null.
function withoutHoles(value) {
    if (Array.isArray(value)) {
        return value.filter((item) => item !== undefined).map(withoutHoles);
    }
    if (value !== null && typeof value === 'object') {
        return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, withoutHoles(member)]));
    }
    return value;
}

// Half of a character, which `substring` and `split` can leave, is U+FFFD: JSON cannot hold it. In a list that became a text, the
// reference has its escape.
function wellFormed(_, value) {
    return typeof value === 'string' ? value.toWellFormed().replace(/\\u(d[89a-f][0-9a-f]{2})/gi, '\uFFFD') : value;
}

const lines = readFileSync(0, 'utf8').split('\n').filter((line) => line !== '');
// Each from its text, because `reverse` and others change the data.
const plain = lines.map((line) => render(JSON.parse(line)));
refuseUnknownPaths();
refuseUnknownElements();
coalesceUnknownPaths();
containsNothingUnknown();
refuseInfinity();
refuseOtherTimes();
decideAlternatives();
encodeHalves();
leaveFailures();
const adjusted = lines.map((line) => withoutHoles(render(JSON.parse(line))));
for (let index = 0; index < lines.length; index += 1) {
    console.log(JSON.stringify({ plain: plain[index], adjusted: adjusted[index] }, wellFormed));
}
