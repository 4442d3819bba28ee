//! Values as Python writes them: `json.dumps` for the filter `tojson`, `str()` and `repr()` for what a template prints.

use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Error, ErrorKind};
use std::fmt::Write;

/// `repr(float)`: the shortest digits, with an exponent below 1e-4 and from 1e16 on.
pub fn float(value: f64) -> String {
    if value.is_nan() {
        return "nan".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf".into() } else { "-inf".into() };
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        let plain = format!("{value}");
        return if plain.contains('.') { plain } else { plain + ".0" };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

fn number(value: &Value) -> String {
    if value.is_integer() {
        value.to_string()
    } else {
        f64::try_from(value.clone()).map_or_else(|_| value.to_string(), float)
    }
}

pub struct JsonStyle {
    pub ascii: bool,
    pub indent: Option<String>,
    pub item: String,
    pub key: String,
    pub sort: bool,
}

impl JsonStyle {
    /// The keyword arguments of transformers' `tojson`.
    pub fn from_arguments(indent: Option<Value>, arguments: &Kwargs) -> Result<Self, Error> {
        let indent = match indent {
            Some(given) => Some(given),
            None => arguments.get::<Option<Value>>("indent")?,
        };
        let indent = match indent {
            Some(given) if given.is_none() || given.is_undefined() => None,
            Some(given) => Some(match given.as_str() {
                Some(text) => text.chars().take(64).collect(),
                None => " ".repeat(usize::try_from(given)?.min(64)),
            }),
            None => None,
        };
        let separators = arguments.get::<Option<Vec<String>>>("separators")?;
        let (item, key) = match separators {
            Some(pair) if pair.len() == 2 => (pair[0].clone(), pair[1].clone()),
            Some(_) => return Err(Error::new(ErrorKind::InvalidOperation, "separators must be a pair")),
            None => (if indent.is_some() { "," } else { ", " }.to_string(), ": ".to_string()),
        };
        let style = JsonStyle {
            ascii: arguments.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
            sort: arguments.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
            indent,
            item,
            key,
        };
        arguments.assert_all_used()?;
        Ok(style)
    }

    pub fn dump(&self, value: &Value) -> Result<String, Error> {
        let mut out = String::new();
        self.write(&mut out, value, 0)?;
        Ok(out)
    }

    fn line(&self, out: &mut String, depth: usize) {
        if let Some(indent) = &self.indent {
            out.push('\n');
            for _ in 0..depth {
                out.push_str(indent);
            }
        }
    }

    fn write(&self, out: &mut String, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > 200 {
            return Err(Error::new(ErrorKind::BadSerialization, "value is nested too deeply"));
        }
        match value.kind() {
            ValueKind::None => out.push_str("null"),
            ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => out.push_str(&match number(value).as_str() {
                "nan" => "NaN".to_string(),
                "inf" => "Infinity".to_string(),
                "-inf" => "-Infinity".to_string(),
                plain => plain.to_string(),
            }),
            ValueKind::String => self.string(out, value.as_str().unwrap_or("")),
            ValueKind::Seq | ValueKind::Iterable => {
                let items: Vec<Value> = value.try_iter()?.collect();
                self.group(out, depth, ['[', ']'], items.len(), |out, i| self.write(out, &items[i], depth + 1))?;
            }
            ValueKind::Map => self.map(out, value, depth)?,
            other => {
                let text = format!("Object of type {other} is not JSON serializable");
                return Err(Error::new(ErrorKind::BadSerialization, text));
            }
        }
        Ok(())
    }

    fn map(&self, out: &mut String, value: &Value, depth: usize) -> Result<(), Error> {
        let mut keys: Vec<Value> = value.try_iter()?.collect();
        if self.sort {
            keys.sort();
        }
        self.group(out, depth, ['{', '}'], keys.len(), |out, i| {
            self.string(out, &str(&keys[i]));
            out.push_str(&self.key);
            self.write(out, &value.get_item(&keys[i])?, depth + 1)
        })
    }

    fn group(
        &self,
        out: &mut String,
        depth: usize,
        brackets: [char; 2],
        count: usize,
        mut item: impl FnMut(&mut String, usize) -> Result<(), Error>,
    ) -> Result<(), Error> {
        out.push(brackets[0]);
        for i in 0..count {
            if i > 0 {
                out.push_str(&self.item);
            }
            self.line(out, depth + 1);
            item(out, i)?;
        }
        if count > 0 {
            self.line(out, depth);
        }
        out.push(brackets[1]);
        Ok(())
    }

    fn string(&self, out: &mut String, text: &str) {
        out.push('"');
        for c in text.chars() {
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\u{8}' => out.push_str("\\b"),
                '\u{c}' => out.push_str("\\f"),
                c if (c as u32) < 0x20 || (self.ascii && (c as u32) > 0x7e) => {
                    let mut units = [0u16; 2];
                    for unit in c.encode_utf16(&mut units) {
                        let _ = write!(out, "\\u{unit:04x}");
                    }
                }
                c => out.push(c),
            }
        }
        out.push('"');
    }
}

/// `str(value)`; undefined prints nothing, as in Jinja.
pub fn str(value: &Value) -> String {
    match value.kind() {
        ValueKind::Undefined => String::new(),
        ValueKind::String => value.as_str().unwrap_or("").to_string(),
        _ => repr(value, 0),
    }
}

fn repr(value: &Value, depth: usize) -> String {
    if depth > 200 {
        return "...".into();
    }
    let list = |open: &str, close: &str| {
        let items: Vec<String> =
            value.try_iter().map(|items| items.map(|v| repr(&v, depth + 1)).collect()).unwrap_or_default();
        format!("{open}{}{close}", items.join(", "))
    };
    match value.kind() {
        ValueKind::None => "None".into(),
        ValueKind::Undefined => "Undefined".into(),
        ValueKind::Bool => if value.is_true() { "True" } else { "False" }.into(),
        ValueKind::Number => number(value),
        ValueKind::String => quoted(value.as_str().unwrap_or("")),
        ValueKind::Seq => list("[", "]"),
        ValueKind::Map => {
            let keys: Vec<Value> = value.try_iter().map(|keys| keys.collect()).unwrap_or_default();
            let items: Vec<String> = keys
                .iter()
                .map(|k| format!("{}: {}", repr(k, depth + 1), repr(&value.get_item(k).unwrap_or_default(), depth + 1)))
                .collect();
            format!("{{{}}}", items.join(", "))
        }
        _ => value.to_string(),
    }
}

fn quoted(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut out = String::new();
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c if (c as u32) < 0x20 || c as u32 == 0x7f => {
                let _ = write!(out, "\\x{:02x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push(quote);
    out
}
