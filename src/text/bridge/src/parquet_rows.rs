//! Parquet files through the crate `parquet`: rows as JSON Lines, a batch at a time, so that memory holds one batch and
//! the pages it lies in. Values are written as a JSON Lines file would have them; times become ISO 8601 text.

use crate::{bytes, guarded, without_panic, BridgeError, BridgeSlice, BridgeText, Failure, BAD_INPUT, PANIC};
use parquet::basic::{ConvertedType, LogicalType, TimeUnit};
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::reader::{ReaderIter, TreeBuilder};
use parquet::record::{Field, Row};
use parquet::schema::types::Type;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const MAX_BATCH_BYTES: usize = 8 << 20;
const MICROS: i64 = 1_000_000;
const SECONDS_OF_DAY: i64 = 86_400;

pub struct ParquetRows {
    file: SerializedFileReader<File>,
    schema: Type,
    rows: Option<ReaderIter>,
    next_group: usize,
}

fn bad(text: impl Into<String>) -> Failure {
    Failure::new(BAD_INPUT, text)
}

fn broken(error: ParquetError) -> Failure {
    let said = error.to_string();
    let said = said.split_once(": ").map_or(said.as_str(), |(_, rest)| rest);
    match said.strip_prefix("Disabled feature at compile time: ") {
        Some(codec) => bad(format!("the Parquet file is compressed with {codec}, which is not read; snappy, zstd and gzip are")),
        None => bad(format!("the Parquet file is damaged or cut short: {said}")),
    }
}

/// The crate panics over types that it cannot convert.
fn within_the_crate<T>(body: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    without_panic(body).map_err(|failure| match failure.code {
        PANIC => bad(format!("the Parquet file is damaged, or holds a type that is not read: {}", failure.text)),
        _ => failure,
    })
}

/// The crate says little about these, so they are recognized first.
fn check_ends(file: &mut File) -> Result<(), Failure> {
    let mut magic = [0u8; 4];
    let head = file.read_exact(&mut magic);
    if head.is_err() || (&magic != b"PAR1" && &magic != b"PARE") {
        return Err(bad("the file is no Parquet file: its first bytes are not PAR1"));
    }
    let tail = file.seek(SeekFrom::End(-4)).and_then(|_| file.read_exact(&mut magic));
    match (tail, &magic) {
        (Ok(()), b"PAR1") => Ok(()),
        (Ok(()), b"PARE") => Err(bad("the Parquet file is encrypted, which is not read")),
        _ => Err(bad("the Parquet file is cut short: its last bytes are not PAR1")),
    }
}

fn check_types(column: &Type) -> Result<(), Failure> {
    if !column.is_primitive() {
        return column.get_fields().iter().try_for_each(|field| check_types(field));
    }
    match column.get_basic_info().converted_type() {
        ConvertedType::INTERVAL => Err(bad(format!("column \"{}\" holds intervals, which are not read", column.name()))),
        ConvertedType::BSON => Err(bad(format!("column \"{}\" holds BSON, which is not read", column.name()))),
        _ => Ok(()),
    }
}

fn open(path: &Path) -> Result<ParquetRows, Failure> {
    let mut file = File::open(path).map_err(|e| bad(e.to_string()))?;
    check_ends(&mut file)?;
    let file = SerializedFileReader::new(file).map_err(broken)?;
    let schema = file.metadata().file_metadata().schema().clone();
    check_types(&schema)?;
    Ok(ParquetRows { file, schema, rows: None, next_group: 0 })
}

/// Year, month and day of a day since 1970-01-01 (Hinnant, "chrono-compatible low-level date algorithms").
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day_of_year - (153 * month_from_march + 2) / 5 + 1)
}

fn date_text(days: i64) -> String {
    let (year, month, day) = civil(days);
    format!("{year:04}-{month:02}-{day:02}")
}

/// As Python's isoformat: no fraction when there is none, else six digits, nine where six do not suffice.
fn time_text(seconds: i64, nanos: i64) -> String {
    let fraction = match (nanos % 1000, nanos) {
        (_, 0) => String::new(),
        (0, _) => format!(".{:06}", nanos / 1000),
        _ => format!(".{nanos:09}"),
    };
    format!("{:02}:{:02}:{:02}{fraction}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

fn timestamp_text(value: i64, per_second: i64, column: Option<&Type>) -> String {
    let seconds = value.div_euclid(per_second);
    let nanos = value.rem_euclid(per_second) * (1_000_000_000 / per_second);
    let logical = column.and_then(|c| c.get_basic_info().logical_type_ref());
    let zone = if matches!(logical, Some(LogicalType::Timestamp { is_adjusted_to_u_t_c: true, .. })) { "+00:00" } else { "" };
    let time = time_text(seconds.rem_euclid(SECONDS_OF_DAY), nanos);
    format!("{}T{time}{zone}", date_text(seconds.div_euclid(SECONDS_OF_DAY)))
}

fn string(text: &str) -> Result<String, Failure> {
    serde_json::to_string(text).map_err(|e| bad(e.to_string()))
}

fn real(value: impl serde::Serialize) -> Result<String, Failure> {
    serde_json::to_string(&value).map_err(|e| bad(e.to_string())) // NaN and infinity become null
}

/// A 64-bit integer, unless its column says that it is a time in nanoseconds, which the crate leaves alone.
fn long(value: i64, column: Option<&Type>) -> Result<String, Failure> {
    match column.and_then(|c| c.get_basic_info().logical_type_ref()) {
        Some(LogicalType::Timestamp { unit: TimeUnit::NANOS, .. }) => string(&timestamp_text(value, 1_000_000_000, column)),
        Some(LogicalType::Time { unit: TimeUnit::NANOS, .. }) => {
            string(&time_text(value.div_euclid(1_000_000_000), value.rem_euclid(1_000_000_000)))
        }
        _ => Ok(value.to_string()),
    }
}

/// The type of a list's elements: below the repeated group in the form writers use today, else the repeated field.
fn element_type(list: Option<&Type>) -> Option<&Type> {
    let list = list.filter(|t| !t.is_primitive())?;
    let repeated = list.get_fields().first()?;
    match repeated.is_primitive() || repeated.get_fields().len() != 1 {
        true => Some(repeated),
        false => repeated.get_fields().first().map(|t| &**t),
    }
}

fn write_group(row: &Row, group: Option<&Type>, out: &mut String) -> Result<(), Failure> {
    out.push('{');
    for (index, (name, value)) in row.get_column_iter().enumerate() {
        out.push_str(if index > 0 { "," } else { "" });
        out.push_str(&string(name)?);
        out.push(':');
        let child = group.filter(|t| !t.is_primitive()).and_then(|t| t.get_fields().iter().find(|f| f.name() == name));
        write_value(value, child.map(|t| &**t), name, out)?;
    }
    out.push('}');
    Ok(())
}

fn write_value(value: &Field, column: Option<&Type>, name: &str, out: &mut String) -> Result<(), Failure> {
    let text = match value {
        Field::Null => "null".to_string(),
        Field::Bool(v) => v.to_string(),
        Field::Byte(v) => v.to_string(),
        Field::Short(v) => v.to_string(),
        Field::Int(v) => v.to_string(),
        Field::Long(v) => long(*v, column)?,
        Field::UByte(v) => v.to_string(),
        Field::UShort(v) => v.to_string(),
        Field::UInt(v) => v.to_string(),
        Field::ULong(v) => v.to_string(),
        Field::Float16(v) => real(v.to_f32())?,
        Field::Float(v) => real(*v)?,
        Field::Double(v) => real(*v)?,
        Field::Decimal(_) => value.to_string(),
        Field::Str(v) => string(v)?,
        Field::Bytes(v) => match std::str::from_utf8(v.data()) {
            Ok(v) => string(v)?,
            Err(_) => return Err(bad(format!("column \"{name}\" holds bytes that are no UTF-8 text"))),
        },
        Field::Date(v) => string(&date_text(i64::from(*v)))?,
        Field::TimeMillis(v) => string(&time_text(i64::from(*v) / 1000, i64::from(*v) % 1000 * MICROS))?,
        Field::TimeMicros(v) => string(&time_text(v / MICROS, v % MICROS * 1000))?,
        Field::TimestampMillis(v) => string(&timestamp_text(*v, 1000, column))?,
        Field::TimestampMicros(v) => string(&timestamp_text(*v, MICROS, column))?,
        Field::Group(row) => return write_group(row, column, out),
        Field::ListInternal(list) => {
            out.push('[');
            for (index, element) in list.elements().iter().enumerate() {
                out.push_str(if index > 0 { "," } else { "" });
                write_value(element, element_type(column), name, out)?;
            }
            "]".to_string()
        }
        Field::MapInternal(map) => {
            out.push('{');
            for (index, (key, entry)) in map.entries().iter().enumerate() {
                let Field::Str(key) = key else {
                    return Err(bad(format!("column \"{name}\" is a map whose keys are no text")));
                };
                out.push_str(if index > 0 { "," } else { "" });
                out.push_str(&string(key)?);
                out.push(':');
                write_value(entry, None, name, out)?;
            }
            "}".to_string()
        }
    };
    out.push_str(&text);
    Ok(())
}

impl ParquetRows {
    fn next_row(&mut self) -> Result<Option<Row>, Failure> {
        loop {
            if let Some(row) = self.rows.as_mut().and_then(|rows| rows.next()) {
                return row.map(Some).map_err(broken);
            }
            if self.next_group == self.file.num_row_groups() {
                return Ok(None);
            }
            let group = self.file.get_row_group(self.next_group).map_err(broken)?;
            let schema = self.file.metadata().file_metadata().schema_descr_ptr();
            self.rows = Some(TreeBuilder::new().as_iter(schema, &*group).map_err(broken)?);
            self.next_group += 1;
        }
    }

    fn batch(&mut self, max_rows: usize) -> Result<String, Failure> {
        let mut lines = String::new();
        for _ in 0..max_rows {
            if lines.len() >= MAX_BATCH_BYTES {
                break;
            }
            let Some(row) = self.next_row()? else { break };
            write_group(&row, Some(&self.schema), &mut lines)?;
            lines.push('\n');
        }
        Ok(lines)
    }
}

/// # Safety
/// `path` is readable; `out`, `rows` and `error` are writable.
#[no_mangle]
pub unsafe extern "C" fn bridge_parquet_open(
    path: BridgeSlice,
    out: *mut *mut ParquetRows,
    rows: *mut i64,
    error: *mut BridgeError,
) -> i32 {
    guarded(error, || {
        let path = Path::new(std::ffi::OsStr::from_bytes(bytes(path)));
        let opened = within_the_crate(|| open(path))?;
        *rows = opened.file.metadata().file_metadata().num_rows();
        *out = Box::into_raw(Box::new(opened));
        Ok(())
    })
}

/// The next rows, at most `max_rows` and about 8 MB, one JSON object to a line; empty at the end. After an error the
/// reader is only good for bridge_parquet_free.
///
/// # Safety
/// `reader` came from bridge_parquet_open; `out` and `error` are writable.
#[no_mangle]
pub unsafe extern "C" fn bridge_parquet_next(
    reader: *mut ParquetRows,
    max_rows: usize,
    out: *mut BridgeText,
    error: *mut BridgeError,
) -> i32 {
    guarded(error, || {
        *out = BridgeText::new(within_the_crate(|| (*reader).batch(max_rows))?);
        Ok(())
    })
}

/// # Safety
/// `reader` came from bridge_parquet_open and is not used again.
#[no_mangle]
pub unsafe extern "C" fn bridge_parquet_free(reader: *mut ParquetRows) {
    if !reader.is_null() {
        drop(Box::from_raw(reader));
    }
}
