//! Methods of Python's strings and dicts that templates call: what minijinja-contrib lacks, and what it does otherwise
//! (positions count characters, an empty needle ends, keyword arguments are taken, the separators U+001C to U+001F are
//! white space).

use minijinja::value::{from_args, Kwargs, Value, ValueKind};
use minijinja::{Error, ErrorKind, State};
use minijinja_contrib::pycompat;

pub fn call(state: &State, value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    if let (ValueKind::String, Some(text)) = (value.kind(), value.as_str()) {
        if let Some(done) = string_method(text, method, args) {
            return done;
        }
    }
    pycompat::unknown_method_callback(state, value, method, args)
}

fn string_method(text: &str, method: &str, args: &[Value]) -> Option<Result<Value, Error>> {
    Some(match method {
        "split" => split(text, args, false),
        "rsplit" => split(text, args, true),
        "find" => find(args, |what| text.find(what)).map(|at| position(text, at).into()),
        "rfind" => find(args, |what| text.rfind(what)).map(|at| position(text, at).into()),
        "index" => find(args, |what| text.find(what)).and_then(|at| match at {
            Some(_) => Ok(position(text, at).into()),
            None => Err(Error::new(ErrorKind::InvalidOperation, "substring not found")),
        }),
        "count" => count(text, args),
        "partition" => partition(text, args, false),
        "rpartition" => partition(text, args, true),
        "removeprefix" => one(args).map(|what| text.strip_prefix(what).unwrap_or(text).into()),
        "removesuffix" => one(args).map(|what| text.strip_suffix(what).unwrap_or(text).into()),
        "strip" => stripped(text, args, true, true),
        "lstrip" => stripped(text, args, true, false),
        "rstrip" => stripped(text, args, false, true),
        "isspace" => from_args::<()>(args).map(|()| (!text.is_empty() && text.chars().all(is_space)).into()),
        "casefold" => from_args::<()>(args).map(|()| text.to_lowercase().into()),
        "isdecimal" => from_args::<()>(args)
            .map(|()| (!text.is_empty() && text.chars().all(|c| c.is_numeric())).into()),
        _ => return None,
    })
}

fn one(args: &[Value]) -> Result<&str, Error> {
    let (what,): (&str,) = from_args(args)?;
    Ok(what)
}

fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

/// Python's strip, lstrip and rstrip: of `chars`, or of white space.
pub fn strip<'a>(text: &'a str, chars: Option<&str>, left: bool, right: bool) -> &'a str {
    let goes = |c: char| chars.map_or_else(|| is_space(c), |chars| chars.contains(c));
    let text = if left { text.trim_start_matches(goes) } else { text };
    if right { text.trim_end_matches(goes) } else { text }
}

fn stripped(text: &str, args: &[Value], left: bool, right: bool) -> Result<Value, Error> {
    let (chars,): (Option<&str>,) = from_args(args)?;
    Ok(strip(text, chars, left, right).into())
}

fn find(args: &[Value], search: impl Fn(&str) -> Option<usize>) -> Result<Option<usize>, Error> {
    one(args).map(search)
}

fn position(text: &str, at: Option<usize>) -> i64 {
    at.map_or(-1, |at| text[..at].chars().count() as i64)
}

fn count(text: &str, args: &[Value]) -> Result<Value, Error> {
    let what = one(args)?;
    let found = if what.is_empty() { text.chars().count() + 1 } else { text.matches(what).count() };
    Ok(Value::from(found))
}

fn partition(text: &str, args: &[Value], from_right: bool) -> Result<Value, Error> {
    let what = one(args)?;
    if what.is_empty() {
        return Err(Error::new(ErrorKind::InvalidOperation, "empty separator"));
    }
    let parts = if from_right { text.rsplit_once(what) } else { text.split_once(what) };
    let parts = match (parts, from_right) {
        (Some((before, after)), _) => [before, what, after],
        (None, false) => [text, "", ""],
        (None, true) => ["", "", text],
    };
    Ok(parts.into_iter().map(Value::from).collect())
}

fn split(text: &str, args: &[Value], from_right: bool) -> Result<Value, Error> {
    let (separator, limit, named): (Option<Value>, Option<i64>, Kwargs) = from_args(args)?;
    let separator = match separator {
        Some(given) => Some(given),
        None => named.get::<Option<Value>>("sep")?,
    };
    let limit = match limit {
        Some(given) => given,
        None => named.get::<Option<i64>>("maxsplit")?.unwrap_or(-1),
    };
    named.assert_all_used()?;
    let limit = usize::try_from(limit).ok();  // none = no limit
    let parts: Vec<&str> = match &separator {
        Some(given) if !given.is_none() => {
            let what = given.as_str().ok_or_else(|| Error::new(ErrorKind::InvalidOperation, "separator must be str"))?;
            if what.is_empty() {
                return Err(Error::new(ErrorKind::InvalidOperation, "empty separator"));
            }
            match (limit, from_right) {
                (None, _) => text.split(what).collect(),
                (Some(n), false) => text.splitn(n.saturating_add(1), what).collect(),
                (Some(n), true) => {
                    let mut parts: Vec<&str> = text.rsplitn(n.saturating_add(1), what).collect();
                    parts.reverse();
                    parts
                }
            }
        }
        _ => words(text, limit, from_right),
    };
    Ok(parts.into_iter().map(Value::from).collect())
}

/// `split()` without a separator: runs of white space divide, none are left at the ends.
fn words(text: &str, limit: Option<usize>, from_right: bool) -> Vec<&str> {
    let Some(limit) = limit else { return text.split(is_space).filter(|part| !part.is_empty()).collect() };
    let mut parts = Vec::new();
    let mut rest = strip(text, None, !from_right, from_right);
    while !rest.is_empty() {
        let cut = if from_right { rest.rfind(is_space) } else { rest.find(is_space) };
        let Some(cut) = cut.filter(|_| parts.len() < limit) else { break };
        if from_right {
            parts.push(strip(&rest[cut..], None, true, false));
            rest = strip(&rest[..cut], None, false, true);
        } else {
            parts.push(&rest[..cut]);
            rest = strip(&rest[cut..], None, true, false);
        }
    }
    if !rest.is_empty() {
        parts.push(rest);
    }
    if from_right {
        parts.reverse();
    }
    parts
}
