//! The crates `tokenizers`, `minijinja` and `parquet` behind a C interface. Lengths are explicit, results are owned by Rust until
//! freed, an error is a code and a text, and no panic crosses the boundary.

mod generation;
mod meter;
mod parquet_rows;
mod pyjson;
mod pymethods;
mod strftime;
mod template;
mod template_env;
mod tokenizer;

use std::cell::RefCell;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Once;

/// A borrowed byte string.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct BridgeSlice {
    pub data: *const u8,
    pub size: usize,
}

/// A byte string owned by Rust; freed by `bridge_text_free`.
#[repr(C)]
pub struct BridgeText {
    data: *mut u8,
    size: usize,
    capacity: usize,
}

impl BridgeText {
    pub fn new(text: String) -> Self {
        let mut bytes = std::mem::ManuallyDrop::new(text.into_bytes());
        BridgeText { data: bytes.as_mut_ptr(), size: bytes.len(), capacity: bytes.capacity() }
    }
}

/// What went wrong. `line` is 1-based, 0 = unknown.
#[repr(C)]
pub struct BridgeError {
    text: BridgeText,
    line: u32,
}

/// Codes that the C++ side turns into exit codes.
pub const OK: i32 = 0;
pub const BAD_INPUT: i32 = 1;
pub const RAISED: i32 = 2;
pub const BUDGET: i32 = 3;
pub const UNDEFINED: i32 = 4;
pub const PANIC: i32 = 5;
pub const BROKEN: i32 = 6;

pub struct Failure {
    pub code: i32,
    pub text: String,
    pub line: u32,
}

impl Failure {
    pub fn new(code: i32, text: impl Into<String>) -> Self {
        Failure { code, text: text.into(), line: 0 }
    }
}

thread_local! {
    static PANIC_TEXT: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Keeps a panic's words for the error instead of printing them; nothing else in the program is written in Rust.
fn silence_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        std::panic::set_hook(Box::new(|info| {
            PANIC_TEXT.with(|text| *text.borrow_mut() = info.to_string());
        }));
    });
}

/// Runs `body`; a panic becomes a failure.
pub fn without_panic<T>(body: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    silence_panics();
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| {
        let said = payload.downcast_ref::<String>().cloned();
        let said = said.or_else(|| payload.downcast_ref::<&str>().map(|s| s.to_string()));
        let text = said.unwrap_or_else(|| PANIC_TEXT.with(|text| text.borrow().clone()));
        Err(Failure::new(PANIC, text))
    })
}

/// Runs `body`; every way to fail becomes a code and a text in `error`.
pub fn guarded(error: *mut BridgeError, body: impl FnOnce() -> Result<(), Failure>) -> i32 {
    let Err(failure) = without_panic(body) else { return OK };
    if !error.is_null() {
        // SAFETY: the caller passes a valid place for the error.
        unsafe { error.write(BridgeError { text: BridgeText::new(failure.text), line: failure.line }) };
    }
    failure.code
}

/// # Safety
/// `slice` points at `size` readable bytes (or size is 0) that outlive the use.
pub unsafe fn bytes<'a>(slice: BridgeSlice) -> &'a [u8] {
    if slice.size == 0 {
        return &[];
    }
    std::slice::from_raw_parts(slice.data, slice.size)
}

/// # Safety
/// As `bytes`.
pub unsafe fn text<'a>(slice: BridgeSlice) -> Result<&'a str, Failure> {
    std::str::from_utf8(bytes(slice))
        .map_err(|e| Failure::new(BAD_INPUT, format!("invalid UTF-8 at byte {}", e.valid_up_to())))
}

/// # Safety
/// `owned` came from this library and is not used again.
#[no_mangle]
pub unsafe extern "C" fn bridge_text_free(owned: BridgeText) {
    if !owned.data.is_null() {
        drop(Vec::from_raw_parts(owned.data, owned.size, owned.capacity));
    }
}
