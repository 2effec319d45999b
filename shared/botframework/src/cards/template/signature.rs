//! The table of operators and functions: names, arguments, results.

/// A set of types. A value of [`Types::ANY`] can have any, and is checked when it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Types(u8);

impl Types {
    pub(super) const BOOLEAN: Self = Self(1);
    pub(super) const NUMBER: Self = Self(2);
    pub(super) const STRING: Self = Self(4);
    pub(super) const ARRAY: Self = Self(8);
    pub(super) const ANY: Self = Self(16);

    const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether a value of these types can be given for `wanted`.
    pub(super) fn fit(self, wanted: Self) -> bool {
        (self.0 | wanted.0) & Self::ANY.0 != 0 || self.0 & wanted.0 != 0
    }

    /// As a person reads it: `a number or a string`.
    pub(super) fn describe(self) -> String {
        let names = [
            (Self::BOOLEAN, "a boolean"),
            (Self::NUMBER, "a number"),
            (Self::STRING, "a string"),
            (Self::ARRAY, "an array"),
        ];
        let names: Vec<_> = names
            .iter()
            .filter(|(kind, _)| self.0 & kind.0 != 0)
            .map(|(_, name)| *name)
            .collect();
        names.join(" or ")
    }
}

/// The arguments after those that must be there.
enum More {
    Optional(&'static [Types]),
    /// Any number of these.
    Rest(Types),
}

/// One line of the table.
struct Signature {
    /// The operator and the function's name, as far as there are both.
    names: &'static [&'static str],
    function: Function,
    arguments: &'static [Types],
    more: More,
    returns: Types,
}

/// Why arguments do not fit a function.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Misfit {
    /// What it takes, such as `2 to 3`.
    Count(String),
    /// The argument, counted from 1, and what it has to be.
    Type(usize, String),
}

/// Declares the functions and their table, in the order: names, function, arguments, further arguments, result.
macro_rules! functions {
    ($($names:expr, $function:ident, $arguments:expr, $more:expr, $returns:expr;)+) => {
        /// What an operator or a function does.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Function {
            $($function,)+
        }

        const TABLE: &[Signature] = &[
            $(Signature {
                names: &$names,
                function: Function::$function,
                arguments: &$arguments,
                more: $more,
                returns: $returns,
            },)+
        ];
    };
}

const BOOLEAN: Types = Types::BOOLEAN;
const NUMBER: Types = Types::NUMBER;
const STRING: Types = Types::STRING;
const ARRAY: Types = Types::ARRAY;
const ANY: Types = Types::ANY;
const NONE: More = More::Optional(&[]);

functions! {
    ["+", "add"], Add, [NUMBER.or(STRING); 2], More::Rest(NUMBER.or(STRING)), NUMBER.or(STRING);
    ["-", "sub"], Subtract, [NUMBER; 2], More::Rest(NUMBER), NUMBER;
    ["*", "mul"], Multiply, [NUMBER; 2], More::Rest(NUMBER), NUMBER;
    ["/", "div"], Divide, [NUMBER; 2], More::Rest(NUMBER), NUMBER;
    ["%", "mod"], Modulo, [NUMBER; 2], NONE, NUMBER;
    ["^", "exp"], Power, [NUMBER; 2], More::Rest(NUMBER), NUMBER;
    ["&", "concat"], Concat, [ANY], More::Rest(ANY), STRING.or(ARRAY);
    ["==", "equals"], Equals, [ANY; 2], NONE, BOOLEAN;
    ["!="], NotEquals, [ANY; 2], NONE, BOOLEAN;
    ["<", "less"], Less, [ANY; 2], NONE, BOOLEAN;
    ["<=", "lessOrEquals"], LessOrEquals, [ANY; 2], NONE, BOOLEAN;
    [">", "greater"], Greater, [ANY; 2], NONE, BOOLEAN;
    [">=", "greaterOrEquals"], GreaterOrEquals, [ANY; 2], NONE, BOOLEAN;
    ["&&", "and"], And, [ANY], More::Rest(ANY), BOOLEAN;
    ["||", "or"], Or, [ANY], More::Rest(ANY), BOOLEAN;
    ["!", "not"], Not, [ANY], NONE, BOOLEAN;
    ["??", "coalesce"], Coalesce, [ANY], More::Rest(ANY), ANY;
    ["if"], If, [ANY; 3], NONE, ANY;
    ["exists"], Exists, [ANY], NONE, BOOLEAN;
    ["empty"], Empty, [ANY], NONE, BOOLEAN;
    ["bool"], Bool, [ANY], NONE, BOOLEAN;
    ["isString"], IsString, [ANY], NONE, BOOLEAN;
    ["isBoolean"], IsBoolean, [ANY], NONE, BOOLEAN;
    ["isInteger"], IsInteger, [ANY], NONE, BOOLEAN;
    ["isFloat"], IsFloat, [ANY], NONE, BOOLEAN;
    ["isArray"], IsArray, [ANY], NONE, BOOLEAN;
    ["isObject"], IsObject, [ANY], NONE, BOOLEAN;
    ["string"], String, [ANY], More::Optional(&[STRING]), STRING;
    ["json"], Json, [STRING], NONE, ANY;
    ["jsonStringify"], JsonStringify, [ANY], NONE, STRING;
    ["int"], Int, [ANY], NONE, NUMBER;
    ["float"], Float, [ANY], NONE, NUMBER;
    ["createArray"], CreateArray, [], More::Rest(ANY), ARRAY;
    ["length"], Length, [STRING], NONE, NUMBER;
    ["toUpper"], ToUpper, [STRING], NONE, STRING;
    ["toLower"], ToLower, [STRING], NONE, STRING;
    ["titleCase"], TitleCase, [STRING], NONE, STRING;
    ["sentenceCase"], SentenceCase, [STRING], NONE, STRING;
    ["trim"], Trim, [STRING], NONE, STRING;
    ["substring"], Substring, [STRING, NUMBER], More::Optional(&[NUMBER]), STRING;
    ["replace"], Replace, [STRING; 3], NONE, STRING;
    ["split"], Split, [STRING], More::Optional(&[STRING]), ARRAY;
    ["join"], Join, [ARRAY, STRING], More::Optional(&[STRING]), STRING;
    ["startsWith"], StartsWith, [STRING; 2], NONE, BOOLEAN;
    ["endsWith"], EndsWith, [STRING; 2], NONE, BOOLEAN;
    ["indexOf"], IndexOf, [STRING.or(ARRAY), ANY], NONE, NUMBER;
    ["lastIndexOf"], LastIndexOf, [STRING.or(ARRAY), ANY], NONE, NUMBER;
    ["countWord"], CountWord, [STRING], NONE, NUMBER;
    ["addOrdinal"], AddOrdinal, [NUMBER], NONE, STRING;
    ["uriComponent"], UriComponent, [ANY], NONE, STRING;
    ["first"], First, [ANY], NONE, ANY;
    ["last"], Last, [ANY], NONE, ANY;
    ["count"], Count, [STRING.or(ARRAY)], NONE, NUMBER;
    ["contains"], Contains, [ANY; 2], NONE, BOOLEAN;
    ["skip"], Skip, [ARRAY, NUMBER], NONE, ARRAY;
    ["take"], Take, [ARRAY.or(STRING), NUMBER], NONE, ARRAY.or(STRING);
    ["subArray"], SubArray, [ARRAY, NUMBER], More::Optional(&[NUMBER]), ARRAY;
    ["sortBy"], SortBy, [ARRAY], More::Optional(&[STRING]), ARRAY;
    ["sortByDescending"], SortByDescending, [ARRAY], More::Optional(&[STRING]), ARRAY;
    ["indicesAndValues"], IndicesAndValues, [ANY], NONE, ARRAY;
    ["where"], Where, [ANY; 3], NONE, ARRAY;
    ["select", "foreach"], Select, [ANY; 3], NONE, ARRAY;
    ["any"], Any, [ANY; 3], NONE, BOOLEAN;
    ["all"], All, [ANY; 3], NONE, BOOLEAN;
    ["min"], Min, [ANY], More::Rest(ANY), NUMBER;
    ["max"], Max, [ANY], More::Rest(ANY), NUMBER;
    ["sum"], Sum, [ARRAY], NONE, NUMBER;
    ["average"], Average, [ANY], NONE, NUMBER;
    ["round"], Round, [NUMBER], More::Optional(&[NUMBER]), NUMBER;
    ["floor"], Floor, [NUMBER], NONE, NUMBER;
    ["ceiling"], Ceiling, [NUMBER], NONE, NUMBER;
    ["abs"], Abs, [NUMBER], NONE, NUMBER;
    ["sqrt"], Sqrt, [NUMBER], NONE, NUMBER;
    ["formatNumber"], FormatNumber, [NUMBER; 2], More::Optional(&[STRING]), STRING;
    ["formatDateTime"], FormatDateTime, [STRING], More::Optional(&[STRING, STRING]), STRING;
    ["formatEpoch"], FormatEpoch, [NUMBER], More::Optional(&[STRING, STRING]), STRING;
    ["addDays"], AddDays, [STRING, NUMBER], More::Optional(&[STRING, STRING]), STRING;
    ["addHours"], AddHours, [STRING, NUMBER], More::Optional(&[STRING, STRING]), STRING;
    ["addMinutes"], AddMinutes, [STRING, NUMBER], More::Optional(&[STRING, STRING]), STRING;
    ["addSeconds"], AddSeconds, [STRING, NUMBER], More::Optional(&[STRING, STRING]), STRING;
    ["year"], Year, [STRING], NONE, NUMBER;
    ["month"], Month, [STRING], NONE, NUMBER;
    ["dayOfMonth"], DayOfMonth, [STRING], NONE, NUMBER;
    ["dayOfWeek"], DayOfWeek, [STRING], NONE, NUMBER;
    ["dayOfYear"], DayOfYear, [STRING], NONE, NUMBER;
    ["date"], Date, [STRING], NONE, STRING;
}

impl Function {
    /// The function or operator of this name. Names are case-sensitive.
    pub(super) fn named(name: &str) -> Option<Self> {
        TABLE
            .iter()
            .find(|signature| signature.names.contains(&name))
            .map(|signature| signature.function)
    }

    fn signature(self) -> &'static Signature {
        // The table has the order of the enumeration.
        &TABLE[self as usize]
    }

    pub(super) fn returns(self) -> Types {
        self.signature().returns
    }

    /// Whether the second argument is the name of a variable for the items of the first.
    pub(super) fn iterates(self) -> bool {
        matches!(self, Self::Where | Self::Select | Self::Any | Self::All)
    }

    /// Checks the number and the known types of arguments.
    pub(super) fn check(self, arguments: &[Types]) -> Result<(), Misfit> {
        let signature = self.signature();
        let least = signature.arguments.len();
        let optional = match signature.more {
            More::Optional(types) => Some(types),
            More::Rest(_) => None,
        };
        let most = optional.map(|types| least + types.len());
        if arguments.len() < least || most.is_some_and(|most| arguments.len() > most) {
            return Err(Misfit::Count(match most {
                None => format!("{least} or more"),
                Some(most) if most == least => least.to_string(),
                Some(most) => format!("{least} to {most}"),
            }));
        }
        for (index, given) in arguments.iter().enumerate() {
            let wanted = match (signature.arguments.get(index), &signature.more) {
                (Some(wanted), _) | (None, More::Rest(wanted)) => *wanted,
                (None, More::Optional(types)) => types[index - least],
            };
            if !given.fit(wanted) {
                return Err(Misfit::Type(index + 1, wanted.describe()));
            }
        }
        Ok(())
    }

    /// A comparison or a test: its unknown arguments have no value, and it is false when one fails.
    pub(super) fn compares(self) -> bool {
        matches!(
            self,
            Self::Equals
                | Self::NotEquals
                | Self::Less
                | Self::LessOrEquals
                | Self::Greater
                | Self::GreaterOrEquals
                | Self::Exists
                | Self::Empty
                | Self::Bool
                | Self::Contains
        )
    }

    /// The names of all operators and functions.
    #[cfg(test)]
    pub(super) fn names() -> impl Iterator<Item = &'static str> {
        TABLE.iter().flat_map(|signature| signature.names.iter().copied())
    }
}
