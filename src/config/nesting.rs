//! Limits the nesting of a TOML text before it is parsed: the library follows nesting by recursion.

/// No setting has more than 3.
const MAX_KEY_PARTS: usize = 8;
/// Brackets and braces that are open at the same time.
const MAX_BRACKETS: usize = 16;

/// Whether a dotted key has too many parts, or brackets nest too deep, outside of strings and comments.
///
/// Exact for TOML. In a text that is not TOML, the parser goes on after a mistake; it never nests deeper than counted
/// here, because a closing bracket counts only if it closes the innermost open one.
pub(super) fn is_too_deep(text: &str) -> bool {
    let without_escapes = text.strip_prefix('\u{feff}').unwrap_or(text).replace(r"\\", "__").replace("\\\"", "__");
    let (mut rest, mut dots, mut open) = (without_escapes.as_str(), 0, Vec::new());
    while let Some(first) = rest.chars().next() {
        match first {
            '.' => dots += 1,
            '[' | '{' => open.push(first),
            ']' => drop(open.pop_if(|open| *open == '[')),
            '}' => drop(open.pop_if(|open| *open == '{')),
            _ => {}
        }
        dots = if "[]{}=,\r\n".contains(first) { 0 } else { dots };
        if dots >= MAX_KEY_PARTS || open.len() > MAX_BRACKETS {
            return true;
        }
        rest = after_token(rest).unwrap_or_default();
    }
    false
}

/// Skips a string, a comment, a word, or a single sign, as the parser's lexer does: a quote within a word starts no
/// string, and a line break ends a string in single quotes. `None` at the end of the text.
fn after_token(text: &str) -> Option<&str> {
    for (quotes, quote) in [("\"\"\"", '"'), ("'''", '\'')] {
        if let Some(string) = text.strip_prefix(quotes) {
            let (_, rest) = string.split_once(quotes)?;
            // Two more quotes belong to the string.
            let rest = rest.strip_prefix(quote).unwrap_or(rest);
            return Some(rest.strip_prefix(quote).unwrap_or(rest));
        }
        if let Some(string) = text.strip_prefix(quote) {
            return string.split_once([quote, '\n']).map(|(_, rest)| rest);
        }
    }
    let end =
        if text.starts_with('#') { text.find(['\r', '\n']) } else { text.find(|c| ".=,[]{} \t#\r\n".contains(c)) };
    text.get(end?.max(1)..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_of_more_than_8_parts_is_too_deep() {
        let key = |parts| vec!["a"; parts].join(".");
        for (start, end) in [("", " = 1"), ("[", "]"), ("[[", "]]"), ("k = { ", " = 1 }"), ("k = 1.5\n", " = 2")] {
            assert!(!is_too_deep(&format!("{start}{}{end}", key(8))), "{start}");
            assert!(is_too_deep(&format!("{start}{}{end}", key(9))), "{start}");
        }
        assert!(is_too_deep("a . 'b' . \"c\" .\td.e.f.g.h.i = 1"));
        assert!(!is_too_deep(&"[a.b.c]\nd.e = [1.5, 2.5]\n".repeat(100)));
    }

    #[test]
    fn brackets_nested_deeper_than_16_are_too_deep() {
        let array = |depth| format!("a = {}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(!is_too_deep(&array(16)) && is_too_deep(&array(17)));
        assert!(is_too_deep(&"{ a = [ ".repeat(9)));
        assert!(!is_too_deep(&"[[a]]\nb = [{ c = [] }]\n".repeat(100)));
        // The parser ignores the braces.
        assert!(is_too_deep(&"[ } ".repeat(17)) && is_too_deep(&"{ {} a = ".repeat(17)));
    }

    #[test]
    fn strings_and_comments_hide_their_content() {
        for start in
            ["# ", "a = '", r#"a = ""#, r#"a = "\\\""#, r#"a."'"#, "\u{feff}\"", "a = \"\"\"\n\"\"", "a = '''\n''"]
        {
            assert!(!is_too_deep(&format!("{start}{}", "[".repeat(17))), "{start}");
        }
    }

    #[test]
    fn text_after_strings_and_comments_is_not_hidden() {
        let words = [r#"a = x" "#, r#"a = \" "#];
        let strings = [r#"a = """#, "a = ''", r#"a = "\\""#, r"a = '\'", "\u{feff}\"\""];
        let long_strings = [r#"a = """""""#, r#"a = """ """""#, r#"a = """\"""""#, "a = ''' ''''"];
        for start in words.iter().chain(&strings).chain(&long_strings).chain(&["#\n", "#\r", "a = \"\n", "a = '\n"]) {
            assert!(is_too_deep(&format!("{start}{}", "[".repeat(17))), "{start}");
        }
    }
}
