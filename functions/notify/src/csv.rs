//! CSV (RFC 4180) that is safe to open in a spreadsheet.

use std::fmt::Write;

/// Appends one line with these cells.
pub(crate) fn line<'a>(text: &mut String, cells: impl IntoIterator<Item = &'a str>) {
    for (index, cell) in cells.into_iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        let guarded = guarded(cell);
        // Writing to a string cannot fail.
        let _ = if guarded == cell && !cell.contains([',', ';', '"', '\t', '\r', '\n']) {
            write!(text, "{cell}")
        } else {
            write!(text, "\"{}\"", guarded.replace('"', "\"\""))
        };
    }
    text.push_str("\r\n");
}

/// The cell with an apostrophe before each text that a spreadsheet would take for a formula. The cell may come from outside.
///
/// A formula may begin at the start of the cell, and after each character that some spreadsheet takes for a separator of cells.
fn guarded(cell: &str) -> String {
    let mut guarded = String::with_capacity(cell.len());
    let mut begins = true;
    for (index, one) in cell.char_indices() {
        let is_break = matches!(one, '\t' | '\r' | '\n');
        if (begins && is_formula(one)) || (index == 0 && is_break) {
            guarded.push('\'');
        }
        guarded.push(one);
        begins = is_break || matches!(one, ';' | '"') || (begins && is_invisible(one));
    }
    guarded
}

/// Whether spreadsheets take a cell with this first character for a formula; those of East Asian locales take the full-width
/// forms, too.
fn is_formula(one: char) -> bool {
    matches!(one, '=' | '+' | '-' | '@' | '＝' | '＋' | '－' | '＠')
}

/// Whether the character does not show, so that some spreadsheets skip it.
fn is_invisible(one: char) -> bool {
    one.is_whitespace() || one.is_control() || matches!(one, '\u{200b}'..='\u{200f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(cells: &[&str]) -> String {
        let mut text = String::new();
        line(&mut text, cells.iter().copied());
        text
    }

    #[test]
    fn plain_and_empty_cells_are_not_quoted() {
        assert_eq!(of(&["a", "", "1"]), "a,,1\r\n");
    }

    #[test]
    fn commas_quotes_and_line_breaks_are_quoted() {
        assert_eq!(
            of(&["a,b", "say \"no\"", "x\r\ny"]),
            "\"a,b\",\"say \"\"no\"\"\",\"x\r\ny\"\r\n"
        );
    }

    #[test]
    fn no_cell_is_a_formula() {
        for formula in [
            "=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n", "＝1", "＋1", "－1", "＠A",
        ] {
            assert!(of(&[formula]).starts_with("\"'"), "{formula}");
        }
    }

    #[test]
    fn no_part_of_a_cell_is_a_formula_where_another_separator_divides_it() {
        for (cell, line) in [
            ("a;=1+1", "\"a;'=1+1\"\r\n"),
            ("a; \u{200b}＝1", "\"a; \u{200b}'＝1\"\r\n"),
            ("a\t@A", "\"a\t'@A\"\r\n"),
            ("a\n-1", "\"a\n'-1\"\r\n"),
            ("a\"+1", "\"a\"\"'+1\"\r\n"),
            (" =1", "\" '=1\"\r\n"),
            ("a;b", "\"a;b\"\r\n"),
        ] {
            assert_eq!(of(&[cell]), line);
        }
    }

    #[test]
    fn what_is_no_formula_stays_as_it_is() {
        for cell in [
            "19:a-b@thread.tacv2",
            "a=b",
            "1-2",
            "msteams|28:bot|a:ada",
            "2026-11-30T09:00:00Z",
        ] {
            assert_eq!(of(&[cell]), format!("{cell}\r\n"));
        }
    }
}
