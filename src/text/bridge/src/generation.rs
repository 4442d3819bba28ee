//! `{% generation %}`, the tag that transformers adds to Jinja to mark what an assistant wrote. minijinja has no custom
//! tags, so the two tags become a filter block, which hands over what it renders, around a `with` block: a variable
//! that is set inside does not leave it. (transformers makes a call block of them; a call block of minijinja does not
//! see a namespace that its body only assigns to.)

/// The filter that receives what a generation block renders.
pub const FILTER: &str = "__generation";

/// What became of a source.
pub struct Rewritten {
    pub source: String,
    pub has_generation: bool,
    /// Words, signs and strings of the longest tag.
    pub longest_tag: usize,
    /// All but comments.
    pub tags: usize,
}

/// The source with every generation tag rewritten. Tags inside comments, strings and raw blocks stay. Time grows with
/// the source's length, whatever it holds: the source is untrusted.
pub fn rewrite(source: &str) -> Rewritten {
    let mut has_generation = false;
    let (mut longest_tag, mut tags) = (0, 0);
    let mut out = String::with_capacity(source.len() + 64);
    let mut rest = source;
    while let Some(at) = rest.find('{') {
        let (before, tag) = rest.split_at(at);
        out.push_str(before);
        let length = if tag.starts_with("{#") {
            tag.find("#}").map_or(tag.len(), |end| end + 2)
        } else if tag.starts_with("{{") {
            end_of_code(tag, "}}")
        } else if tag.starts_with("{%") {
            end_of_code(tag, "%}")
        } else {
            1
        };
        let (whole, after) = tag.split_at(length);
        let word = tag_word(whole);
        has_generation |= word == Some("generation");
        if tag.starts_with("{{") || tag.starts_with("{%") {
            tags += 1;
            longest_tag = longest_tag.max(parts(whole));
        }
        out.push_str(&rewritten_tag(whole));
        rest = after;
        if word == Some("raw") {
            let length = end_of_raw(rest);
            out.push_str(&rest[..length]);
            rest = &rest[length..];
        }
    }
    out.push_str(rest);
    Rewritten { source: out, has_generation, longest_tag, tags }
}

/// Words, signs and string literals of a tag.
fn parts(tag: &str) -> usize {
    let (mut count, mut quote, mut in_word, mut escaped) = (0, 0u8, false, false);
    for byte in tag.bytes() {
        if quote != 0 {
            if escaped || byte == b'\\' {
                escaped = !escaped;
            } else if byte == quote {
                quote = 0;
            }
            continue;
        }
        let is_word = byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80;
        if byte == b'"' || byte == b'\'' {
            quote = byte;
        }
        if !byte.is_ascii_whitespace() && !(is_word && in_word) {
            count += 1;
        }
        in_word = is_word;
    }
    count
}

/// Bytes up to and including `close`, skipping string literals.
fn end_of_code(tag: &str, close: &str) -> usize {
    let bytes = tag.as_bytes();
    let mut quote = 0u8;
    let mut at = 2;
    while at < bytes.len() {
        let byte = bytes[at];
        if quote != 0 {
            if byte == b'\\' {
                at += 1;
            } else if byte == quote {
                quote = 0;
            }
        } else if byte == b'"' || byte == b'\'' {
            quote = byte;
        } else if bytes[at..].starts_with(close.as_bytes()) {
            return at + 2;
        }
        at += 1;
    }
    tag.len()
}

fn is_control(c: char) -> bool {
    c == '-' || c == '+'
}

/// The single word of a tag like `{%- word -%}`.
fn tag_word(tag: &str) -> Option<&str> {
    let body = tag.strip_prefix("{%")?.strip_suffix("%}")?;
    let word = body.trim_start_matches(is_control).trim_end_matches(is_control).trim();
    (!word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')).then_some(word)
}

/// The tag's own white space control stays on the outer sides of the two tags it becomes.
fn rewritten_tag(tag: &str) -> String {
    let (word, outer, inner) = match tag_word(tag) {
        Some("generation") => ("generation", format!("filter {FILTER}"), "with"),
        Some("endgeneration") => ("endgeneration", "endwith".to_string(), "endfilter"),
        _ => return tag.to_string(),
    };
    tag.replacen(word, &format!("{outer} %}}{{% {inner}"), 1)
}

/// Bytes up to and including the `{% endraw %}` tag.
fn end_of_raw(source: &str) -> usize {
    let mut from = 0;
    while let Some(at) = source[from..].find("{%") {
        from += at + 2;
        let word = source[from..].trim_start_matches(is_control).trim_start();
        let Some(tail) = word.strip_prefix("endraw") else { continue };
        let close = tail.trim_start().trim_start_matches(is_control);
        if let Some(after) = close.strip_prefix("%}") {
            return source.len() - after.len();
        }
    }
    source.len()
}
