//! Makes templates and data from a seed.

use serde_json::{Map, Value, json};

/// The generator `SplitMix64`.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    fn below(&mut self, count: usize) -> usize {
        usize::try_from(self.next() % count as u64).unwrap()
    }

    fn percent(&mut self, share: usize) -> bool {
        self.below(100) < share
    }

    fn one<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }
}

/// What an expression is made for.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Number,
    Text,
    Boolean,
    Numbers,
    Texts,
    People,
    Time,
    Null,
}

const SCALARS: [Kind; 3] = [Kind::Number, Kind::Text, Kind::Boolean];

/// Where an expression stands: what names it can use.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Root,
    /// In an element that `people` repeats.
    Person,
}

const WORDS: &[&str] = &[
    "Ada",
    "build",
    "Zürich",
    "rain",
    "a b",
    "7",
    "Straße",
    "x",
    "",
    "  padded ",
    "false",
    "12.5",
    "😀 ok",
    "ÉCOLE",
    "one two three",
    "0",
    "true",
    "é",
];

fn word(random: &mut Random) -> Value {
    json!(random.one(WORDS))
}

fn number(random: &mut Random) -> Value {
    match random.below(6) {
        0 => json!(random.below(10)),
        1 => json!(-(i64::try_from(random.below(1000)).unwrap())),
        2 => json!(random.below(100_000)),
        3 => json!([0.5, 2.5, 12.345, -3.75, 0.000_125, 1e15, 0.1, 99.995][random.below(8)]),
        4 => json!(random.below(2)),
        _ => json!(1_700_000_000 + random.below(1_000_000)),
    }
}

fn time(random: &mut Random) -> Value {
    let times = [
        "2026-12-01T09:30:05.007Z",
        "2024-02-29T23:59:59.999Z",
        "2018-03-15T00:00:00.000Z",
        "1999-07-04T12:00:00.000Z",
    ];
    json!(random.one(&times))
}

fn list(random: &mut Random, item: fn(&mut Random) -> Value) -> Value {
    let count = random.below(5);
    (0..count).map(|_| item(random)).collect()
}

fn person(random: &mut Random) -> Value {
    json!({
        "active": random.percent(50),
        "address": {"city": word(random), "zip": number(random)},
        "age": random.below(90),
        "name": word(random),
        "tags": list(random, word),
    })
}

/// Data in which members are missing now and then.
pub(crate) fn data(random: &mut Random) -> Value {
    let members = json!({
        "count": random.below(20),
        "flag": random.percent(50),
        "name": word(random),
        "nested": {"deep": {"number": number(random), "text": word(random)}, "with space": word(random)},
        "nothing": null,
        "numbers": list(random, number),
        "people": list(random, person),
        "price": number(random),
        "tags": list(random, word),
        "title": word(random),
        "when": time(random),
    });
    let Value::Object(members) = members else {
        unreachable!()
    };
    members
        .into_iter()
        .filter(|_| !random.percent(3))
        .collect::<Map<_, _>>()
        .into()
}

/// A card with a few elements.
pub(crate) fn template(random: &mut Random) -> Value {
    let count = 1 + random.below(4);
    let body: Vec<Value> = (0..count).map(|_| element(random, Place::Root, 2)).collect();
    json!({"type": "AdaptiveCard", "version": "1.5", "fallbackText": string(random, Place::Root), "body": body})
}

fn element(random: &mut Random, place: Place, depth: usize) -> Value {
    let mut element = match random.below(if depth > 0 { 5 } else { 3 }) {
        0 => json!({"type": "TextBlock", "text": string(random, place), "wrap": true}),
        1 => json!({"type": "Input.Number", "value": lone(random, place), "isRequired": lone(random, place)}),
        2 => {
            json!({"type": "FactSet", "facts": [{"title": string(random, place), "value": string(random, place)}]})
        }
        3 => {
            let items: Vec<Value> = (0..random.below(3))
                .map(|_| element(random, place, depth - 1))
                .collect();
            json!({"type": "Container", "items": items})
        }
        _ => {
            let people = if place == Place::Root {
                "${people}"
            } else {
                "${$root.people}"
            };
            let items = element(random, Place::Person, depth - 1);
            let mut container = json!({"type": "Container", "$data": people, "items": [items]});
            if random.percent(50) {
                let when = expression(random, Place::Person, Kind::Boolean, 2);
                container["$when"] = json!(format!("${{{when}}}"));
            }
            container["label"] = string(random, Place::Person);
            container
        }
    };
    if element.get("$when").is_none() && random.percent(25) {
        element["$when"] = json!(format!("${{{}}}", expression(random, place, Kind::Boolean, 2)));
    }
    element
}

fn lone(random: &mut Random, place: Place) -> Value {
    let kinds = [
        Kind::Number,
        Kind::Text,
        Kind::Boolean,
        Kind::Numbers,
        Kind::Texts,
        Kind::People,
        Kind::Null,
    ];
    let kind = kinds[random.below(kinds.len())];
    let expression = expression(random, place, kind, 3);
    if random.percent(10) {
        json!(format!("${{ {expression} }}"))
    } else {
        json!(format!("${{{expression}}}"))
    }
}

fn string(random: &mut Random, place: Place) -> Value {
    let mut text = String::new();
    for _ in 0..=random.below(3) {
        text.push_str(random.one(&["", "Hello ", " - ", "é ", "5 $ ", ": ", "{a} "]));
        let kind = match random.below(30) {
            0 => Kind::Null,
            1..4 => Kind::Texts,
            4..7 => Kind::Numbers,
            _ => SCALARS[random.below(3)],
        };
        text.push_str("${");
        text.push_str(&expression(random, place, kind, 3));
        text.push('}');
        text.push_str(random.one(&["", "!", " ", ".\n", " 100% "]));
    }
    json!(text)
}

/// A path to a value of this kind, and now and then to none.
fn path(random: &mut Random, place: Place, kind: Kind) -> String {
    if random.percent(2) {
        return random
            .one(&["unknown", "nested.unknown.x", "$root.unknown", "people[99].name"])
            .to_owned();
    }
    let paths: &[&str] = match (place, kind) {
        (Place::Root, Kind::Number) => &[
            "count",
            "price",
            "nested.deep.number",
            "Count",
            "$root.count",
            "nested['deep'].number",
        ],
        (Place::Root, Kind::Text) => &[
            "name",
            "title",
            "nested.deep.text",
            "NAME",
            "nested['with space']",
            "$data.name",
            "$root['title']",
        ],
        (Place::Root, Kind::Boolean) => &["flag", "$root.flag"],
        (_, Kind::Numbers) => &["$root.numbers"],
        (Place::Root, Kind::Texts) => &["tags", "$root.tags"],
        (Place::Root, Kind::People) => &["people"],
        (Place::Root, Kind::Time) => &["when"],
        (Place::Root, Kind::Null) => &["nothing", "$root.nothing"],
        (Place::Person, Kind::Number) => &["age", "$index", "address.zip", "$data.age", "$root.count"],
        (Place::Person, Kind::Text) => &["name", "address.city", "address['city']", "$root.name"],
        (Place::Person, Kind::Boolean) => &["active", "$data['active']", "$root.flag"],
        (Place::Person, Kind::Texts) => &["tags"],
        (Place::Person, Kind::People) => &["$root.people"],
        (Place::Person, Kind::Time) => &["$root.when"],
        (Place::Person, Kind::Null) => &["$root.nothing"],
    };
    random.one(paths).to_owned()
}

fn literal(random: &mut Random, kind: Kind) -> String {
    match kind {
        Kind::Number => random
            .one(&["0", "1", "2", "7", "10", "2.5", "0.25", "100", "1234567.891"])
            .to_owned(),
        Kind::Boolean => random.one(&["true", "false"]).to_owned(),
        Kind::Null => "null".to_owned(),
        Kind::Numbers => random
            .one(&["[1, 2, 3]", "[2.5]", "[3, 1, 2, 10]", "createArray(4, 5)"])
            .to_owned(),
        Kind::Texts => random
            .one(&["['a', 'b']", "split('a,b,c', ',')", "['b', 'A', 'c']", "['x']"])
            .to_owned(),
        Kind::People => "json('[{\"name\": \"Eve\", \"age\": 3, \"active\": true}]')".to_owned(),
        Kind::Time => format!("'{}'", time(random).as_str().unwrap()),
        Kind::Text => random
            .one(&[
                "'a'",
                "\"b\"",
                "' '",
                "''",
                "'it\\'s'",
                "'tab\\tnew\\nline'",
                "'é😀'",
                "'Two Words'",
                "'-'",
                "'12px'",
            ])
            .to_owned(),
    }
}

/// An expression whose value has this kind, as far as its paths have theirs. Now and then it has another.
fn expression(random: &mut Random, place: Place, kind: Kind, depth: usize) -> String {
    let kind = if random.percent(2) {
        SCALARS[random.below(3)]
    } else {
        kind
    };
    if depth == 0 || random.percent(30) {
        return if random.percent(65) {
            path(random, place, kind)
        } else {
            literal(random, kind)
        };
    }
    let shapes = match kind {
        Kind::Number => NUMBERS,
        Kind::Text => TEXTS,
        Kind::Boolean => BOOLEANS,
        Kind::Numbers => LISTS_OF_NUMBERS,
        Kind::Texts => LISTS_OF_TEXTS,
        Kind::People => LISTS_OF_PEOPLE,
        Kind::Time => TIMES,
        Kind::Null => NULLS,
    };
    fill(random, place, shapes, depth)
}

/// One of the shapes, with each capital letter that stands alone replaced by an expression of its kind.
fn fill(random: &mut Random, place: Place, shapes: &str, depth: usize) -> String {
    let shapes: Vec<_> = shapes.split("; ").collect();
    let shape = random.one(&shapes);
    let mut text = String::new();
    let mut before = ' ';
    let mut characters = shape.chars().peekable();
    while let Some(character) = characters.next() {
        let is_alone =
            !before.is_alphanumeric() && !characters.peek().is_some_and(|next| next.is_alphanumeric());
        let kind = match character {
            _ if !is_alone => None,
            'N' => Some(Kind::Number),
            'S' => Some(Kind::Text),
            'B' => Some(Kind::Boolean),
            'L' => Some(Kind::Numbers),
            'W' => Some(Kind::Texts),
            'P' => Some(Kind::People),
            'T' => Some(Kind::Time),
            'Z' => Some(Kind::Null),
            _ => None,
        };
        match (character, kind) {
            (_, Some(kind)) => text.push_str(&expression(random, place, kind, depth - 1)),
            ('I', None) if is_alone => text.push_str(random.one(&["0", "1", "2", "3", "-1", "5"])),
            ('A', None) if is_alone => {
                let kind = SCALARS[random.below(3)];
                text.push_str(&expression(random, place, kind, depth - 1));
            }
            ('F', None) if is_alone => text.push_str(random.one(&PATTERNS.split("; ").collect::<Vec<_>>())),
            _ => text.push(character),
        }
        before = character;
    }
    text
}

const PATTERNS: &str = "'yyyy-MM-dd'; 'd. MMMM yyyy'; 'dddd, MMM d, yy'; 'ddd HH:mm:ss'; 'h:mm tt'; 'hh:mm:ss.fff'; \
    'yyyy-MM-ddTHH:mm:ssK'; 'M/d/yyyy zzz'; ''";

const NUMBERS: &str = "(N + N); (N - N); N * N; (N / N); (I % 3); -N; +N; add(N, N, N); sub(N, N); mul(N, 2); div(N, 4); \
    mod(I, 2); (I ^ 2); exp(2, I); min(N, L); max(L); sum(L); average(L); round(N); round(N, I); \
    floor(N); ceiling(N); abs(N); length(S); count(W); count(S); count(P); int(S); float(S); int(N); \
    indexOf(S, S); indexOf(W, S); if(B, N, N); (B ? N : N); countWord(S); L[I]; year(T); month(T); \
    dayOfMonth(T); dayOfWeek(T); dayOfYear(T); sqrt(N); lastIndexOf(S, S); lastIndexOf(W, S)";

const TEXTS: &str = "concat(S, N); concat(S, W); (S & A); (S + S); (S + N); toUpper(S); toLower(S); trim(S); \
    substring(S, I); substring(S, I, 1); replace(S, 'a', S); replace(S, S, '_'); join(W, ', '); \
    join(L, ', ', ' and '); string(N); string(B); string(W); if(B, S, S); (B ? S : S); coalesce(Z, S); \
    (Z ?? S); first(W); last(W); first(S); W[I]; formatNumber(N, I); formatNumber(N, 2, 'de-DE'); \
    formatDateTime(T, F); formatDateTime(T); formatEpoch(N, F); titleCase(S); sentenceCase(S); \
    addOrdinal(I); uriComponent(S); jsonStringify(W); take(S, I); P[I].name; last(P).name; \
    formatNumber(N, I, 'fr-FR'); join(select(P, x, x.name), '+'); date(T); indicesAndValues(W)[I].value; \
    json('\"a\"')";

const BOOLEANS: &str = "(N == N); (A == A); (A != A); (S != S); (N < N); (N <= N); (N > N); (N >= N); (S < S); (A > A); \
    (B && B); (B || B); !B; and(B, B, B); or(A, B); not(A); equals(L, L); greater(N, 3); less(N, 3); \
    greaterOrEquals(N, N); lessOrEquals(N, N); exists(S); exists(Z); empty(S); empty(W); empty(Z); \
    bool(A); contains(S, S); contains(W, S); contains(L, N); startsWith(S, S); endsWith(S, S); \
    isString(A); isInteger(N); isFloat(N); isArray(W); isBoolean(A); any(P, x, x.age > N); \
    all(P, x, x.active); exists(unknown); isObject(A); contains($root, S); \
    isArray(A)";

const LISTS_OF_NUMBERS: &str = "skip(L, I); take(L, I); subArray(L, I); subArray(L, I, 2); where(L, x, x > N); select(L, x, x * 2); \
    foreach(P, x, x.age); [N, N]; if(B, L, L)";

const LISTS_OF_TEXTS: &str = "split(S, ' '); split(S, S); sortBy(W); sortByDescending(W); skip(W, 1); take(W, 2); [S, S]; \
    select(P, x => x.name); where(W, x, contains(x, S)); createArray(S)";

const LISTS_OF_PEOPLE: &str = "where(P, x, x.active); where(P, x, x.age > N); sortBy(P, 'age'); sortByDescending(P, 'name'); \
    take(P, I); skip(P, 1)";

const TIMES: &str = "addDays(T, I); addHours(T, I); addMinutes(T, I); addSeconds(T, I)";

const NULLS: &str = "if(B, null, null); coalesce(Z, Z); first([])";
