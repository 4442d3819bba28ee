//! One Jinja template: compile, render under budgets, and say what went wrong in the template's own words.

use crate::template_env::{environment, Render, RENDER};
use crate::{generation, guarded, meter, text, without_panic, BridgeError, BridgeSlice, BridgeText, Failure};
use crate::{BAD_INPUT, BROKEN, BUDGET, RAISED, UNDEFINED};
use minijinja::{Environment, Error, ErrorKind};
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

const NAME: &str = "template";
const MAX_SOURCE_BYTES: usize = 1 << 20;
/// A chain such as a.b.c is as deep as it is long, and the engine walks it by recursion without a limit of its own: 100,000
/// parts run out of the worker's stack.
const MAX_TAG_PARTS: usize = 8_000;
/// The templates of published models have a few hundred. The engine's time to read them grows with their square, and a chain
/// of `elif` is as deep as it is long: 20,000 tags took 16 s, 8,000 of `elif` ran out of the stack.
const MAX_TAGS: usize = 2_000;

pub struct CompiledTemplate {
    env: Arc<Environment<'static>>,
    has_generation: bool,
    strict: bool,
    stopped: AtomicBool,  // for memory; what that left behind must not be multiplied
}

/// Stops a rendering that writes more than it may.
struct Bounded {
    out: Vec<u8>,
    limit: usize,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > self.limit - self.out.len() {
            return Err(io::Error::other("output budget"));
        }
        self.out.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn words(error: &Error) -> String {
    match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    }
}

fn failure(error: &Error, code: i32, text: String) -> Failure {
    Failure { code, text, line: error.line().unwrap_or(0) as u32 }
}

fn compile(source: &str, strict: bool) -> Result<CompiledTemplate, Failure> {
    if source.len() > MAX_SOURCE_BYTES {
        let text = format!("the template has {} bytes, the limit is {MAX_SOURCE_BYTES}", source.len());
        return Err(Failure::new(BAD_INPUT, text));
    }
    let mut env = environment(strict);
    let generation::Rewritten { source, has_generation, longest_tag, tags } = generation::rewrite(source);
    if longest_tag > MAX_TAG_PARTS {
        let text = format!("a tag of {longest_tag} words and signs, the limit is {MAX_TAG_PARTS}");
        return Err(Failure::new(BAD_INPUT, text));
    }
    if tags > MAX_TAGS {
        return Err(Failure::new(BAD_INPUT, format!("{tags} tags, the limit is {MAX_TAGS}")));
    }
    env.add_template_owned(NAME, source).map_err(|e| failure(&e, BAD_INPUT, words(&e)))?;
    Ok(CompiledTemplate { env: Arc::new(env), has_generation, strict, stopped: AtomicBool::new(false) })
}

/// Variables the template reads that are neither in `context` nor defined by the environment, sorted.
fn missing_variables(env: &Environment, context: &serde_json::Value) -> Vec<String> {
    let Ok(template) = env.get_template(NAME) else { return Vec::new() };
    let known = |name: &str| context.get(name).is_some() || env.globals().any(|(global, _)| global == name);
    let mut missing: Vec<String> = template.undeclared_variables(false).into_iter().filter(|n| !known(n)).collect();
    missing.sort();
    missing
}

fn render(env: &Environment, strict: bool, context: &str, how: Render, limit: usize) -> Result<String, Failure> {
    let context: serde_json::Value =
        serde_json::from_str(context).map_err(|e| Failure::new(BAD_INPUT, format!("the values: {e}")))?;
    let template = env.get_template(NAME).map_err(|e| failure(&e, BAD_INPUT, words(&e)))?;
    RENDER.with(|render| *render.borrow_mut() = how);
    let mut out = Bounded { out: Vec::new(), limit };
    let result = template.render_captured_to(&context, &mut out).map(|_| ());
    let raised = RENDER.with(|render| render.take().raised);
    let Err(error) = result else {
        return String::from_utf8(out.out).map_err(|e| Failure::new(BAD_INPUT, e.to_string()));
    };
    use ErrorKind::{TemplateNotFound, UnknownFilter, UnknownFunction, UnknownTest};
    Err(match error.kind() {
        _ if raised.is_some() => failure(&error, RAISED, raised.unwrap_or_default()),
        ErrorKind::OutOfFuel => failure(&error, BUDGET, "the template runs for too many steps".into()),
        ErrorKind::WriteFailure => failure(&error, BUDGET, format!("the template writes more than {limit} bytes")),
        UnknownFilter | UnknownTest | UnknownFunction | TemplateNotFound => failure(&error, BROKEN, words(&error)),
        ErrorKind::UndefinedError if strict => {
            let missing = missing_variables(env, &context);
            let undefined = failure(&error, UNDEFINED, missing.join("\n"));
            if missing.is_empty() { failure(&error, RAISED, words(&error)) } else { undefined }
        }
        _ => failure(&error, RAISED, words(&error)),
    })
}

fn render_bounded(t: &CompiledTemplate, context: &str, how: Render, limit: usize) -> Result<String, Failure> {
    let too_much = || Failure::new(BUDGET, format!("the template uses more than {} MiB of memory", meter::limit() >> 20));
    if t.stopped.load(Ordering::Relaxed) {
        return Err(too_much());
    }
    let (env, strict, context) = (t.env.clone(), t.strict, context.to_string());
    let done = meter::bounded(move || without_panic(|| render(&env, strict, &context, how, limit)))
        .map_err(|e| Failure::new(BUDGET, format!("no thread for the template: {e}")))?;
    done.unwrap_or_else(|| {
        t.stopped.store(true, Ordering::Relaxed);
        Err(too_much())
    })
}

/// `has_generation` says whether the template marks what an assistant wrote.
///
/// # Safety
/// `source` is readable; `has_generation`, `out` and `error` are writable.
#[no_mangle]
pub unsafe extern "C" fn bridge_template_compile(
    source: BridgeSlice,
    strict: bool,
    has_generation: *mut bool,
    out: *mut *mut CompiledTemplate,
    error: *mut BridgeError,
) -> i32 {
    guarded(error, || {
        let compiled = compile(text(source)?, strict)?;
        *has_generation = compiled.has_generation;
        *out = Box::into_raw(Box::new(compiled));
        Ok(())
    })
}

/// # Safety
/// `t` came from bridge_template_compile and is not used again.
#[no_mangle]
pub unsafe extern "C" fn bridge_template_free(t: *mut CompiledTemplate) {
    if !t.is_null() {
        drop(Box::from_raw(t));
    }
}

/// `context` is a JSON object, the template's variables. `begin` and `end` are written around generation blocks.
///
/// # Safety
/// Slices are readable; `out` and `error` are writable.
#[no_mangle]
pub unsafe extern "C" fn bridge_template_render(
    t: *const CompiledTemplate,
    context: BridgeSlice,
    date: BridgeSlice,
    begin: BridgeSlice,
    end: BridgeSlice,
    max_output: usize,
    out: *mut BridgeText,
    error: *mut BridgeError,
) -> i32 {
    guarded(error, || {
        let how = Render {
            date: text(date)?.to_string(),
            begin: text(begin)?.to_string(),
            end: text(end)?.to_string(),
            raised: None,
        };
        *out = BridgeText::new(render_bounded(&*t, text(context)?, how, max_output)?);
        Ok(())
    })
}
