//! tokenizer.json through the crate `tokenizers`: load with caps, encode batches in parallel, decode.

use crate::{bytes, guarded, text, BridgeError, BridgeSlice, BridgeText, Failure, BAD_INPUT};
use rayon::prelude::*;
use serde::Deserialize;
use serde_json::{json, Value};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};
use tokenizers::models::ModelWrapper;
use tokenizers::{AddedToken, PostProcessorWrapper, Tokenizer};

const MAX_PATTERN_BYTES: usize = 4096;
const MAX_REPEAT_PRODUCT: u64 = 100_000;
const MAX_TOKEN_ID: u32 = 1 << 22;
const MAX_TEXT_BYTES: usize = 1 << 28;

pub struct LoadedTokenizer {
    inner: Tokenizer,
    max_id: u32,
}

/// The sections that may hold regular expressions; the vocabulary is skipped, so this is cheap.
#[derive(Deserialize)]
struct PatternSections {
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    #[serde(default)]
    decoder: Value,
}

fn bad(text: impl Into<String>) -> Failure {
    Failure::new(BAD_INPUT, text)
}

/// Product of all counted repeats `{n,m}`: what a pattern can grow to when the engine unrolls it.
fn repeat_product(pattern: &str) -> u64 {
    let mut product = 1u64;
    for part in pattern.split('{').skip(1) {
        let body = part.split('}').next().unwrap_or("");
        let bounds: Vec<&str> = body.split(',').map(str::trim).collect();
        let counted = bounds.iter().all(|b| b.chars().all(|c| c.is_ascii_digit()));
        if counted && bounds.len() <= 2 {
            let largest = bounds.iter().map(|b| b.parse::<u64>().unwrap_or(if b.is_empty() { 1 } else { u64::MAX })).max();
            product = product.saturating_mul(largest.unwrap_or(1).max(1));
        }
    }
    product
}

/// Patterns are compiled by the crate while it reads the file, so the caps come before.
fn check_patterns(value: &Value) -> Result<(), Failure> {
    match value {
        Value::Object(members) => members.iter().try_for_each(|(key, member)| match (key.as_str(), member) {
            ("Regex", Value::String(pattern)) if pattern.len() > MAX_PATTERN_BYTES => Err(bad(format!(
                "a regular expression has {} bytes, the limit is {MAX_PATTERN_BYTES}",
                pattern.len()
            ))),
            ("Regex", Value::String(pattern)) if repeat_product(pattern) > MAX_REPEAT_PRODUCT => {
                Err(bad(format!("a regular expression repeats too much: {pattern}")))
            }
            _ => check_patterns(member),
        }),
        Value::Array(items) => items.iter().try_for_each(check_patterns),
        _ => Ok(()),
    }
}

/// Offsets that leave out a token's leading space would hide a token that straddles prompt and completion.
fn keep_whole_offsets(tokenizer: &mut Tokenizer) -> Result<(), Failure> {
    fn clear(value: &mut Value) {
        match value {
            Value::Object(members) => {
                for (key, member) in members.iter_mut() {
                    if key == "trim_offsets" {
                        *member = Value::Bool(false);
                    } else if key == "processors" {
                        clear(member);
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(clear),
            _ => {}
        }
    }
    let Some(processor) = tokenizer.get_post_processor() else { return Ok(()) };
    let mut value = serde_json::to_value(processor).map_err(|e| bad(e.to_string()))?;
    clear(&mut value);
    let processor: PostProcessorWrapper = serde_json::from_value(value).map_err(|e| bad(e.to_string()))?;
    tokenizer.with_post_processor(Some(processor));
    Ok(())
}

/// Tokens that tokenizer_config.json adds: `[{id, content, single_word, lstrip, rstrip, normalized, special}]`, by id;
/// id -1 stands for a token of the vocabulary, whatever its id.
fn add_config_tokens(tokenizer: &mut Tokenizer, extra: &str) -> Result<(), Failure> {
    let extra: Vec<Value> = serde_json::from_str(extra).map_err(|e| bad(e.to_string()))?;
    for entry in &extra {
        let id = entry["id"].as_i64().unwrap_or(-1);
        let token: AddedToken = serde_json::from_value(entry.clone()).map_err(|e| bad(e.to_string()))?;
        let content = token.content.clone();
        if tokenizer.get_added_vocabulary().get_vocab().contains_key(&content) {
            continue;  // tokenizer.json's own entry wins
        }
        if id < 0 && tokenizer.token_to_id(&content).is_none() {
            continue;
        }
        if token.special {
            tokenizer.add_special_tokens(&[token]);
        } else {
            tokenizer.add_tokens(&[token]);
        }
        let got = tokenizer.token_to_id(&content).map(i64::from);
        if id >= 0 && got != Some(id) {
            let got = got.map_or("nothing".to_string(), |g| g.to_string());
            return Err(bad(format!("added token \"{content}\" is declared as id {id}, but the vocabulary gives {got}")));
        }
    }
    Ok(())
}

fn load(source: &[u8], extra: &str) -> Result<LoadedTokenizer, Failure> {
    let sections: PatternSections = serde_json::from_slice(source).map_err(|e| bad(e.to_string()))?;
    check_patterns(&sections.normalizer)?;
    check_patterns(&sections.pre_tokenizer)?;
    check_patterns(&sections.decoder)?;
    let mut inner = Tokenizer::from_bytes(source).map_err(|e| bad(e.to_string()))?;
    inner.with_padding(None);
    inner.with_truncation(None).map_err(|e| bad(e.to_string()))?;
    if let ModelWrapper::BPE(bpe) = inner.get_model() {
        if bpe.dropout.is_some() {
            let mut certain = bpe.clone();
            certain.dropout = None;  // the same text must always give the same ids
            inner.with_model(certain);
        }
    }
    keep_whole_offsets(&mut inner)?;
    add_config_tokens(&mut inner, extra)?;
    let max_id = inner.get_vocab(true).values().copied().max().ok_or_else(|| bad("the vocabulary is empty"))?;
    if max_id >= MAX_TOKEN_ID {
        return Err(bad(format!("token id {max_id} is beyond the limit of {MAX_TOKEN_ID}")));
    }
    Ok(LoadedTokenizer { inner, max_id })
}

#[derive(Default)]
pub struct OneEncoding {
    ids: Vec<u32>,
    offsets: Vec<[u32; 2]>,
}

pub struct Encodings {
    items: Vec<OneEncoding>,
}

fn encode_one(tokenizer: &Tokenizer, slice: &BridgeSlice, special: bool, offsets: bool) -> Result<OneEncoding, Failure> {
    // SAFETY: the caller of bridge_tokenizer_encode keeps the texts alive during the call.
    let input = unsafe { text(*slice)? };
    if input.len() > MAX_TEXT_BYTES {
        return Err(bad(format!("a text of {} bytes is beyond the limit of {MAX_TEXT_BYTES}", input.len())));
    }
    let encoding = if offsets { tokenizer.encode(input, special) } else { tokenizer.encode_fast(input, special) };
    let encoding = encoding.map_err(|e| bad(e.to_string()))?;
    let spans = if offsets {
        encoding.get_offsets().iter().map(|&(begin, end)| [begin as u32, end as u32]).collect()
    } else {
        Vec::new()
    };
    Ok(OneEncoding { ids: encoding.get_ids().to_vec(), offsets: spans })
}

/// A pool by its number of threads, made once: starting threads for every batch costs more than a small batch.
fn pool(threads: usize) -> Result<Arc<rayon::ThreadPool>, Failure> {
    static POOLS: OnceLock<Mutex<HashMap<usize, Arc<rayon::ThreadPool>>>> = OnceLock::new();
    let mut pools = POOLS.get_or_init(Default::default).lock().map_err(|_| bad("the thread pool is poisoned"))?;
    if let Some(pool) = pools.get(&threads) {
        return Ok(pool.clone());
    }
    let made = rayon::ThreadPoolBuilder::new().num_threads(threads).build().map_err(|e| bad(e.to_string()))?;
    let made = Arc::new(made);
    pools.insert(threads, made.clone());
    Ok(made)
}

// SAFETY: a slice is a read-only view that stays alive during the call it is passed to.
unsafe impl Sync for BridgeSlice {}

fn encode_all(t: &Tokenizer, texts: &[BridgeSlice], special: bool, offsets: bool, threads: usize) -> Result<Encodings, Failure> {
    let count = texts.len();
    let items: Result<Vec<OneEncoding>, Failure> = if threads <= 1 || count <= 1 {
        texts.iter().map(|slice| encode_one(t, slice, special, offsets)).collect()
    } else {
        pool(threads)?.install(|| {
            (0..count).into_par_iter().map(|i| encode_one(t, &texts[i], special, offsets)).collect()
        })
    };
    Ok(Encodings { items: items? })
}

fn describe(t: &LoadedTokenizer) -> Value {
    let added = t.inner.get_added_tokens_decoder();
    let mut added: Vec<_> = added.iter().collect();
    added.sort_by_key(|(id, _)| **id);
    let added: Vec<Value> =
        added.iter().map(|(id, a)| json!({"id": id, "content": a.content, "special": a.special})).collect();
    json!({"max_id": t.max_id, "added_tokens": added})
}

/// # Safety
/// Slices are readable; `out` and `error` are writable.
#[no_mangle]
pub unsafe extern "C" fn bridge_tokenizer_load(
    source: BridgeSlice,
    extra_tokens: BridgeSlice,
    out: *mut *mut LoadedTokenizer,
    error: *mut BridgeError,
) -> i32 {
    guarded(error, || {
        let loaded = load(bytes(source), text(extra_tokens)?)?;
        *out = Box::into_raw(Box::new(loaded));
        Ok(())
    })
}

/// # Safety
/// `t` came from bridge_tokenizer_load and is not used again.
#[no_mangle]
pub unsafe extern "C" fn bridge_tokenizer_free(t: *mut LoadedTokenizer) {
    if !t.is_null() {
        drop(Box::from_raw(t));
    }
}

/// # Safety
/// `texts` holds `count` readable slices; the result is freed by bridge_encodings_free.
#[no_mangle]
pub unsafe extern "C" fn bridge_tokenizer_encode(
    t: *const LoadedTokenizer,
    texts: *const BridgeSlice,
    count: usize,
    add_special: bool,
    offsets: bool,
    threads: usize,
    out: *mut *mut Encodings,
    error: *mut BridgeError,
) -> i32 {
    guarded(error, || {
        let texts = if count == 0 { &[][..] } else { std::slice::from_raw_parts(texts, count) };
        let encodings = encode_all(&(*t).inner, texts, add_special, offsets, threads)?;
        *out = Box::into_raw(Box::new(encodings));
        Ok(())
    })
}

/// Views of text `index`: `size` ids and, if asked for, `size` pairs of byte offsets.
///
/// # Safety
/// `index` is below the count that was encoded; the views live as long as `e`.
#[no_mangle]
pub unsafe extern "C" fn bridge_encodings_view(
    e: *const Encodings,
    index: usize,
    ids: *mut *const u32,
    offsets: *mut *const [u32; 2],
    size: *mut usize,
) {
    let Some(item) = (&(*e).items).get(index) else {
        *size = 0;
        return;
    };
    *ids = item.ids.as_ptr();
    *offsets = item.offsets.as_ptr();
    *size = item.ids.len();
}

/// # Safety
/// `e` came from bridge_tokenizer_encode and is not used again.
#[no_mangle]
pub unsafe extern "C" fn bridge_encodings_free(e: *mut Encodings) {
    if !e.is_null() {
        drop(Box::from_raw(e));
    }
}

/// # Safety
/// `ids` holds `count` ids.
#[no_mangle]
pub unsafe extern "C" fn bridge_tokenizer_decode(
    t: *const LoadedTokenizer,
    ids: *const u32,
    count: usize,
    skip_special: bool,
    out: *mut BridgeText,
    error: *mut BridgeError,
) -> i32 {
    guarded(error, || {
        let ids = if count == 0 { &[][..] } else { std::slice::from_raw_parts(ids, count) };
        let decoded = (*t).inner.decode(ids, skip_special).map_err(|e| bad(e.to_string()))?;
        *out = BridgeText::new(decoded);
        Ok(())
    })
}

/// The id of `token`, or -1.
///
/// # Safety
/// `token` is readable.
#[no_mangle]
pub unsafe extern "C" fn bridge_tokenizer_token_to_id(t: *const LoadedTokenizer, token: BridgeSlice) -> i64 {
    match text(token) {
        Ok(token) => (*t).inner.token_to_id(token).map_or(-1, i64::from),
        Err(_) => -1,
    }
}

/// Writes the token of `id` and returns 1, or returns 0.
///
/// # Safety
/// `out` is writable.
#[no_mangle]
pub unsafe extern "C" fn bridge_tokenizer_id_to_token(t: *const LoadedTokenizer, id: u32, out: *mut BridgeText) -> i32 {
    match (*t).inner.id_to_token(id) {
        Some(token) => {
            *out = BridgeText::new(token);
            1
        }
        None => 0,
    }
}

/// JSON: {"max_id", "added_tokens": [{"id", "content", "special"}]}.
///
/// # Safety
/// `out` and `error` are writable.
#[no_mangle]
pub unsafe extern "C" fn bridge_tokenizer_describe(
    t: *const LoadedTokenizer,
    out: *mut BridgeText,
    error: *mut BridgeError,
) -> i32 {
    guarded(error, || {
        *out = BridgeText::new(describe(&*t).to_string());
        Ok(())
    })
}
