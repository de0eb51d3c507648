//! What a spreadsheet may take for a formula (CWE-1236, OWASP ASVS 1.2.10), and how it is defused.

/// True when a field's text begins with what starts a formula in some spreadsheet, after white space or not: `=`, `+`, `-`,
/// `@`, a tab or a carriage return, or the full-width forms that some programs fold to them.
pub(super) fn is_formula(text: &str) -> bool {
    let first = text.chars().next();
    matches!(first, Some('\t' | '\r'))
        || text
            .chars()
            .find(|character| !character.is_whitespace())
            .is_some_and(|character| matches!(character, '=' | '+' | '-' | '@' | '＝' | '＋' | '－' | '＠'))
}

/// The field as it is written when it is defused: quoted, with an apostrophe before the text, which spreadsheets show as text.
pub(super) fn defused(text: &str) -> String {
    format!("\"'{}\"", text.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_are_told_from_text() {
        for text in ["=1", "+1", "-1", "@x", "\tx", "\rx", " =1", "\u{a0}=1", "＝1", "＋1", "－1", "＠x"] {
            assert!(is_formula(text), "{text:?}");
        }
        for text in ["", "a=1", "'=1", "1-1", " a", "x@y"] {
            assert!(!is_formula(text), "{text:?}");
        }
        assert_eq!(defused("=\"a\""), "\"'=\"\"a\"\"\"");
    }
}
