//! CSV (RFC 4180) that is safe to open in a spreadsheet.

use std::fmt::Write;

/// Appends one line with these cells.
pub(crate) fn line<'a>(text: &mut String, cells: impl IntoIterator<Item = &'a str>) {
    for (index, cell) in cells.into_iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        // A spreadsheet takes such a cell for a formula, and its text may come from a stranger. An apostrophe makes it text.
        let guard = if cell.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']) {
            "'"
        } else {
            ""
        };
        // Writing to a string cannot fail.
        let _ = if guard.is_empty() && !cell.contains([',', '"', '\r', '\n']) {
            write!(text, "{cell}")
        } else {
            write!(text, "\"{guard}{}\"", cell.replace('"', "\"\""))
        };
    }
    text.push_str("\r\n");
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
        for formula in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"] {
            assert!(of(&[formula]).starts_with("\"'"), "{formula}");
        }
    }
}
