//! `strftime_now` of a template sees one recorded date, never the clock: the same data must give the same tokens.

use minijinja::{Error, ErrorKind};

const MONTHS: [&str; 12] = [
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

struct Date {
    year: i64,
    month: usize,  // 1..=12
    day: i64,
}

/// `2024-07-26`, `26 Jul 2024`, `26 July 2024` or `July 26, 2024`.
fn parse(text: &str) -> Option<Date> {
    let parts: Vec<&str> = text.split(|c: char| c == '-' || c == ',' || c.is_whitespace()).filter(|p| !p.is_empty()).collect();
    let [a, b, c] = parts[..] else { return None };
    let month = |name: &str| {
        let name = name.to_lowercase();
        let long = |m: &&str| m.to_lowercase() == name || (name.len() == 3 && m.to_lowercase().starts_with(&name));
        MONTHS.iter().position(|m| long(&m)).map(|index| index + 1)
    };
    let date = if let Some(month) = month(b) {
        Date { year: c.parse().ok()?, month, day: a.parse().ok()? }
    } else if let Some(month) = month(a) {
        Date { year: c.parse().ok()?, month, day: b.parse().ok()? }
    } else {
        Date { year: a.parse().ok()?, month: b.parse().ok()?, day: c.parse().ok()? }
    };
    ((1..=12).contains(&date.month) && (1..=31).contains(&date.day) && (1..=9999).contains(&date.year)).then_some(date)
}

/// Sakamoto's formula; 0 = Sunday.
fn weekday(date: &Date) -> usize {
    const SHIFT: [i64; 12] = [0, 3, 2, 5, 0, 3, 5, 1, 4, 6, 2, 4];
    let year = if date.month < 3 { date.year - 1 } else { date.year };
    (year + year / 4 - year / 100 + year / 400 + SHIFT[date.month - 1] + date.day).rem_euclid(7) as usize
}

fn day_of_year(date: &Date) -> i64 {
    const BEFORE: [i64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let leap = (date.year % 4 == 0 && date.year % 100 != 0) || date.year % 400 == 0;
    BEFORE[date.month - 1] + date.day + i64::from(leap && date.month > 2)
}

/// The date `recorded` in C's strftime format, at midnight; a text that is no date is returned as it is.
pub fn format(recorded: &str, format: &str) -> Result<String, Error> {
    let Some(date) = parse(recorded) else { return Ok(recorded.to_string()) };
    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut code = chars.next();
        let bare = code == Some('-');
        if bare {
            code = chars.next();
        }
        let two = |value: i64| if bare { value.to_string() } else { format!("{value:02}") };
        out.push_str(&match code {
            Some('d') => two(date.day),
            Some('e') => format!("{:2}", date.day),
            Some('m') => two(date.month as i64),
            Some('Y') => date.year.to_string(),
            Some('y') => two(date.year % 100),
            Some('B') => MONTHS[date.month - 1].to_string(),
            Some('b' | 'h') => MONTHS[date.month - 1][..3].to_string(),
            Some('A') => DAYS[weekday(&date)].to_string(),
            Some('a') => DAYS[weekday(&date)][..3].to_string(),
            Some('j') => format!("{:03}", day_of_year(&date)),
            Some('F') => format!("{}-{:02}-{:02}", date.year, date.month, date.day),
            Some('H' | 'M' | 'S') => two(0),
            Some('I') => "12".to_string(),
            Some('p') => "AM".to_string(),
            Some('%') => "%".to_string(),
            other => {
                let shown = other.map_or(String::new(), |c| c.to_string());
                return Err(Error::new(ErrorKind::InvalidOperation, format!("strftime_now: unknown format %{shown}")));
            }
        });
    }
    Ok(out)
}
