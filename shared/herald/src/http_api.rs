//! An HTTP API of API Gateway in front of a function: the event of payload format 2.0 becomes a request, and a response
//! becomes the function's result. No URL is built or parsed in between.
//!
//! What a function may believe of such an event:
//!
//! | field | what API Gateway sends |
//! |---|---|
//! | `requestContext.routeKey` | the route that it matched and authorised, as the template writes it: `GET /api/notifications/{id}`, or `$default` |
//! | `pathParameters` | the values of the route's variables, percent-decoded once. As the gateway decodes a path before it matches, no value holds a `/`, and a `%2F` makes two segments |
//! | `rawPath`, `requestContext.http.path` | the path, decoded in spite of its name, and cut at a decoded `?`: what was sent cannot be told from it |
//! | `rawQueryString` | the query as it was sent, percent-encoded |
//! | `headers` | names in lower case; the values of a repeated header joined by commas |
//! | `body`, `isBase64Encoded` | text, or base64 when the content type is not textual |
//! | `requestContext.authorizer` | the principal, by `iam` or `jwt`; absent where the route has no authorizer |
//!
//! REST APIs and function URLs send the path undecoded, and are not supported. The facts about paths are those of public
//! captures; AWS does not document them. A function is safe whether they hold or not: it does what the route key says, which
//! is what the gateway authorised, and looks at the path only to explain a 404.

mod event;
mod response;

pub use event::{Authorizer, GatewayEvent, Iam, Jwt, RequestContext};
pub use response::{GatewayResponse, answer};
