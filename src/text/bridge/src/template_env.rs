//! minijinja set up as transformers sets up Jinja2: globals, filters, tests, printing, and budgets.

use crate::{generation, pyjson, pymethods, strftime};
use minijinja::value::{Kwargs, Rest, Value, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Output, State, UndefinedBehavior};
use std::cell::RefCell;

const FUEL: u64 = 10_000_000;
const MAX_RECURSION: usize = 120;

/// What one rendering needs beside the template's own variables.
#[derive(Default, Clone)]
pub struct Render {
    pub date: String,
    pub begin: String,  // written around what a generation block renders
    pub end: String,
    pub raised: Option<String>,
}

thread_local! {
    pub static RENDER: RefCell<Render> = RefCell::default();
}

pub fn environment(strict: bool) -> Environment<'static> {
    let mut env = Environment::new();
    env.set_trim_blocks(true);
    env.set_lstrip_blocks(true);
    env.set_auto_escape_callback(|_| AutoEscape::None);
    env.set_undefined_behavior(if strict { UndefinedBehavior::Strict } else { UndefinedBehavior::Lenient });
    env.set_fuel(Some(FUEL));
    env.set_recursion_limit(MAX_RECURSION);
    env.set_unknown_method_callback(pymethods::call);
    env.set_formatter(print);
    env.add_function("raise_exception", raise_exception);
    env.add_function("strftime_now", strftime_now);
    env.add_filter(generation::FILTER, generation_block);
    env.add_filter("tojson", tojson);
    env.add_filter("string", |value: &Value| pyjson::str(value));
    env.add_filter("join", join);
    env.add_filter("indent", indent);
    env.add_filter("trim", trim);
    env.add_test("sequence", |v: &Value| matches!(v.kind(), ValueKind::Seq | ValueKind::Map | ValueKind::String));
    env.add_test("iterable", |v: &Value| !v.is_none() && v.try_iter().is_ok());
    env
}

fn print(out: &mut Output, _: &State, value: &Value) -> Result<(), Error> {
    let written = match value.as_str() {
        Some(text) => out.write_str(text),
        None => out.write_str(&pyjson::str(value)),
    };
    written.map_err(Error::from)
}

fn raise_exception(message: Value) -> Result<Value, Error> {
    let message = pyjson::str(&message);
    RENDER.with(|render| render.borrow_mut().raised = Some(message.clone()));
    Err(Error::new(ErrorKind::InvalidOperation, message))
}

fn strftime_now(format: &str) -> Result<String, Error> {
    RENDER.with(|render| strftime::format(&render.borrow().date, format))
}

/// The body of a generation block, between the markers of this rendering (none when only the text is wanted).
fn generation_block(body: &Value) -> Value {
    let (begin, end) = RENDER.with(|render| (render.borrow().begin.clone(), render.borrow().end.clone()));
    Value::from_safe_string(format!("{begin}{body}{end}"))
}

fn tojson(value: &Value, indent: Option<Value>, arguments: Kwargs) -> Result<Value, Error> {
    let style = pyjson::JsonStyle::from_arguments(indent, &arguments)?;
    style.dump(value).map(Value::from_safe_string)
}

fn join(value: &Value, rest: Rest<Value>) -> Result<String, Error> {
    let mut positional = Vec::new();
    let mut attribute = None;
    let mut separator = String::new();
    for argument in rest.iter() {
        match Kwargs::try_from(argument.clone()) {
            Ok(named) if argument.is_kwargs() => {
                attribute = named.get::<Option<Value>>("attribute")?;
                separator = named.get::<Option<Value>>("d")?.map_or(separator, |d| pyjson::str(&d));
            }
            _ => positional.push(argument.clone()),
        }
    }
    if let Some(given) = positional.first() {
        separator = pyjson::str(given);
    }
    let attribute = attribute.or(positional.get(1).cloned());
    let mut parts = Vec::new();
    for item in value.try_iter()? {
        let item = match &attribute {
            Some(name) => item.get_item(name)?,
            None => item,
        };
        parts.push(pyjson::str(&item));
    }
    Ok(parts.join(&separator))
}

/// Jinja's trim is Python's strip.
fn trim(value: &Value, chars: Option<Value>, named: Kwargs) -> Result<String, Error> {
    let chars = match chars {
        Some(given) => Some(given),
        None => named.get::<Option<Value>>("chars")?,
    };
    named.assert_all_used()?;
    let chars = chars.filter(|given| !given.is_none());
    Ok(pymethods::strip(&pyjson::str(value), chars.as_ref().and_then(|c| c.as_str()), true, true).to_string())
}

/// Jinja's indent: `width` is a number of spaces or a text; blank lines stay empty unless asked for.
fn indent(
    text: &Value,
    width: Option<Value>,
    first: Option<bool>,
    blank: Option<bool>,
    named: Kwargs,
) -> Result<String, Error> {
    let width = match width {
        Some(given) => Some(given),
        None => named.get::<Option<Value>>("width")?,
    };
    let first = first.or(named.get("first")?).unwrap_or(false);
    let blank = blank.or(named.get("blank")?).unwrap_or(false);
    named.assert_all_used()?;
    let prefix = match width {
        None => " ".repeat(4),
        Some(given) => match given.as_str() {
            Some(text) => text.chars().take(256).collect(),
            None => " ".repeat(usize::try_from(given)?.min(256)),
        },
    };
    let text = pyjson::str(text);
    let lines = text.split('\n').enumerate().map(|(index, line)| {
        let wanted = if index == 0 { first } else { blank || !line.is_empty() };
        if wanted { format!("{prefix}{line}") } else { line.to_string() }
    });
    Ok(lines.collect::<Vec<_>>().join("\n"))
}
