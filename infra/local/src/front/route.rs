//! Selects the function of a request.

use std::{cmp::Reverse, collections::BTreeMap, time::Duration};

use percent_encoding::percent_decode_str;

use crate::template;

/// The routes of the HTTP API.
#[derive(Debug)]
pub(super) struct Routes(Vec<Route>);

#[derive(Debug)]
pub(super) struct Route {
    /// The route key in the template.
    pub(super) key: String,
    pub(super) function: String,
    pub(super) timeout: Duration,
    /// `None` matches any method.
    method: Option<String>,
    /// `None` matches any path: `$default`.
    path: Option<Vec<Segment>>,
}

/// In API Gateway's order of precedence.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Segment {
    Literal(String),
    Variable(String),
    /// `{name+}`: the rest of the path.
    Rest(String),
}

impl Routes {
    /// Orders the routes so that the first match is the most specific one: by path, then by method.
    pub(super) fn new(routes: &[template::Route]) -> Routes {
        let mut routes: Vec<Route> = routes.iter().map(Route::new).collect();
        routes.sort_by_key(|route| {
            let path = route
                .path
                .as_deref()
                .map(|path| path.iter().map(Segment::rank).collect::<Vec<_>>());
            (path.is_none(), path, Reverse(route.method.is_some()))
        });
        Routes(routes)
    }

    /// The route of a request and its path parameters. `path` is decoded, as API Gateway decodes it before it matches.
    pub(super) fn find(&self, method: &str, path: &str) -> Option<(&Route, BTreeMap<String, String>)> {
        self.0
            .iter()
            .find_map(|route| Some((route, route.matched(method, path)?)))
    }
}

impl Route {
    fn new(route: &template::Route) -> Route {
        let (method, path) = route.key.split_once(' ').unwrap_or(("ANY", ""));
        Route {
            key: route.key.clone(),
            function: route.function.clone(),
            timeout: route.timeout,
            method: (method != "ANY").then(|| method.to_owned()),
            path: (route.key != "$default").then(|| segments(path).map(Segment::new).collect()),
        }
    }

    fn matched(&self, method: &str, path: &str) -> Option<BTreeMap<String, String>> {
        let mut parameters = BTreeMap::new();
        if self.method.as_deref().is_some_and(|own| own != method) {
            return None;
        }
        let Some(pattern) = &self.path else {
            return Some(parameters);
        };
        let mut parts = segments(path);
        for segment in pattern {
            match segment {
                Segment::Literal(text) => {
                    parts.next().filter(|part| part == text)?;
                }
                Segment::Variable(name) => {
                    let part = parts.next().filter(|part| !part.is_empty())?;
                    parameters.insert(name.clone(), part.to_owned());
                }
                Segment::Rest(name) => {
                    let rest: Vec<&str> = parts.by_ref().collect();
                    parameters.insert(name.clone(), rest.join("/"));
                }
            }
        }
        parts.next().is_none().then_some(parameters)
    }
}

impl Segment {
    fn new(text: &str) -> Segment {
        match text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) {
            Some(name) => match name.strip_suffix('+') {
                Some(name) => Segment::Rest(name.to_owned()),
                None => Segment::Variable(name.to_owned()),
            },
            None => Segment::Literal(text.to_owned()),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Segment::Literal(_) => 0,
            Segment::Variable(_) => 1,
            Segment::Rest(_) => 2,
        }
    }
}

fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.strip_prefix('/').unwrap_or(path).split('/')
}

/// The path of an HTTP API's event: decoded once, and cut at a decoded `?`.
pub(super) fn decoded(path: &str) -> String {
    let mut path = percent_decode_str(path).decode_utf8_lossy().into_owned();
    path.truncate(path.find('?').unwrap_or(path.len()));
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(keys: &[&str]) -> Routes {
        let routes: Vec<template::Route> = keys
            .iter()
            .map(|key| template::Route {
                key: (*key).into(),
                function: "f".into(),
                timeout: Duration::from_secs(30),
            })
            .collect();
        Routes::new(&routes)
    }

    fn found<'a>(routes: &'a Routes, method: &str, path: &str) -> Option<&'a str> {
        routes.find(method, path).map(|(route, _)| route.key.as_str())
    }

    #[test]
    fn the_most_specific_route_wins_however_they_are_written() {
        let routes = routes(&[
            "$default",
            "ANY /a/{rest+}",
            "GET /a/{b}",
            "ANY /a/b",
            "POST /a/b",
        ]);
        assert_eq!(found(&routes, "POST", "/a/b"), Some("POST /a/b"));
        assert_eq!(found(&routes, "GET", "/a/b"), Some("ANY /a/b"));
        assert_eq!(found(&routes, "GET", "/a/c"), Some("GET /a/{b}"));
        assert_eq!(found(&routes, "PUT", "/a/c"), Some("ANY /a/{rest+}"));
        assert_eq!(found(&routes, "GET", "/a/c/d"), Some("ANY /a/{rest+}"));
        assert_eq!(found(&routes, "GET", "/x"), Some("$default"));
    }

    #[test]
    fn a_request_without_a_route_has_none() {
        let routes = routes(&["GET /api/notifications/{id}"]);
        for (method, path) in [
            ("POST", "/api/notifications/1"),
            ("GET", "/api/notifications/"),
            ("GET", "/api/notifications/1/2"),
        ] {
            assert_eq!(found(&routes, method, path), None, "{method} {path}");
        }
    }

    #[test]
    fn a_path_is_decoded_once_and_before_it_is_matched() {
        let routes = routes(&["GET /c/{id}", "GET /c/{id}/tags/{tag}"]);
        let id = |path: &str| {
            let path = decoded(path);
            let (route, parameters) = routes.find("GET", &path)?;
            Some((route.key.clone(), parameters.get("id")?.clone()))
        };
        let one = |id: &str| Some(("GET /c/{id}".to_owned(), id.to_owned()));
        assert_eq!(id("/c/19%3Aabc%40thread.v2"), one("19:abc@thread.v2"));
        assert_eq!(id("/c/50%2541"), one("50%41"));
        assert_eq!(id("/c/c%23"), one("c#"));
        assert_eq!(id("/c/R%26D%3F"), one("R&D"));
        assert_eq!(id("/c/a%2Fb"), None);
        assert_eq!(id("/c/a%2Ftags%2Fb").unwrap().0, "GET /c/{id}/tags/{tag}");
        assert_eq!(decoded("/c/%ff"), "/c/\u{fffd}");
    }
}
