//! A source of Rust as its words and signs, without comments, literals and tests.

/// Names, `::` and all other signs one by one.
pub fn tokens(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let is_name = |c: char| c.is_alphanumeric() || c == '_';
        let skipped = comment(rest).or_else(|| literal(rest));
        let length = skipped.unwrap_or_else(|| match first {
            c if is_name(c) => rest.find(|c| !is_name(c)).unwrap_or(rest.len()),
            _ if rest.starts_with("::") => 2,
            c => c.len_utf8(),
        });
        if skipped.is_none() && !first.is_whitespace() {
            found.push(&rest[..length]);
        }
        rest = &rest[length..];
    }
    without_tests(&found)
}

/// Bytes of the comment that begins here.
fn comment(rest: &str) -> Option<usize> {
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    let body = rest.strip_prefix("/*")?;
    Some(body.find("*/").map_or(rest.len(), |end| end + 4))
}

/// Bytes of the string or character that begins here.
fn literal(rest: &str) -> Option<usize> {
    let raw = rest.strip_prefix("br").or_else(|| rest.strip_prefix('r')).unwrap_or_default();
    let hashes = raw.len() - raw.trim_start_matches('#').len();
    if let Some(body) = raw[hashes..].strip_prefix('"') {
        let start = rest.len() - body.len();
        return Some(
            body.find(&format!("\"{}", "#".repeat(hashes))).map_or(rest.len(), |end| start + end + 1 + hashes),
        );
    }
    let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    // A lifetime has no quote behind its first letter.
    if quote == '\'' && !rest[1..].starts_with('\\') && rest.chars().nth(2) != Some('\'') {
        return Some(1);
    }
    let mut escaped = false;
    let end = rest.char_indices().skip(1).find(|&(_, c)| {
        let is_end = c == quote && !escaped;
        escaped = c == '\\' && !escaped;
        is_end
    });
    Some(end.map_or(rest.len(), |(at, _)| at + 1))
}

/// Without the items that are compiled for tests alone.
fn without_tests<'a>(tokens: &[&'a str]) -> Vec<&'a str> {
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if tokens[at..].starts_with(&["#", "[", "cfg"]) {
            let end = at + tokens[at..].iter().position(|t| *t == "]").unwrap_or(0);
            let condition = &tokens[at..end];
            let is_denied = condition.windows(3).any(|words| words == ["not", "(", "test"]);
            if condition.contains(&"test") && !is_denied {
                at = end_of_item(tokens, end + 1);
                continue;
            }
        }
        kept.push(tokens[at]);
        at += 1;
    }
    kept
}

/// Behind the `;` or the `{ .. }` that ends the item at `at`.
fn end_of_item(tokens: &[&str], at: usize) -> usize {
    let mut depth = 0;
    for (i, token) in tokens.iter().enumerate().skip(at) {
        match *token {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => depth -= 1,
            _ => {}
        }
        if depth == 0 && matches!(*token, "}" | ";") {
            return i + 1;
        }
    }
    tokens.len()
}
