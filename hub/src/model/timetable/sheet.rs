//! Cells of a file, whatever it is: XLSX, or CSV in UTF-8, UTF-16 or GB18030.

use std::io::Cursor;

use calamine::{DataRef, Reader as _, Xlsx};

use super::{Fault, Place};

/// Largest file, bytes. A school's timetable has a few hundred kilobytes.
pub const MAX_FILE: usize = 8 << 20;
/// Most rows and columns of a sheet, and most sheets.
const MOST: (usize, usize, usize) = (5000, 120, 200);
/// Longest text of a cell, characters.
const MAX_CELL: usize = 400;

/// A sheet of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sheet {
    /// Its name; of a CSV file, the file's without its ending.
    pub name: String,
    /// Its cells; rows may differ in length.
    pub rows: Vec<Vec<String>>,
}

impl Sheet {
    /// A cell's text, trimmed; empty where there is none. From 0.
    #[must_use]
    pub fn cell(&self, row: usize, column: usize) -> &str {
        self.rows.get(row).and_then(|r| r.get(column)).map_or("", |text| text.trim())
    }

    /// A place as people count.
    #[must_use]
    pub fn place(&self, row: usize, column: usize) -> Place {
        Place { sheet: self.name.clone(), row: row + 1, column: column + 1 }
    }

    /// A fault at a place.
    #[must_use]
    pub fn fault(&self, row: usize, column: usize, what: impl Into<String>) -> Fault {
        Fault { at: self.place(row, column), what: what.into() }
    }

    fn put(&mut self, row: usize, column: usize, text: String) {
        if self.rows.len() <= row {
            self.rows.resize_with(row + 1, Vec::new);
        }
        if let Some(cells) = self.rows.get_mut(row) {
            if cells.len() <= column {
                cells.resize_with(column + 1, String::new);
            }
            if let Some(cell) = cells.get_mut(column) {
                *cell = text;
            }
        }
    }
}

/// A sentence about a whole file.
fn whole(name: &str, what: impl Into<String>) -> Vec<Fault> {
    vec![Fault { at: Place { sheet: name.to_owned(), ..Place::default() }, what: what.into() }]
}

/// The sheets of a file. Its beginning says what it is, not its name.
///
/// # Errors
/// What cannot be read, and what to do.
pub fn sheets(name: &str, bytes: &[u8]) -> Result<Vec<Sheet>, Vec<Fault>> {
    if bytes.len() > MAX_FILE {
        return Err(whole(name, "文件超过 8 MB，课表没有这么大，请只留课表再导入。"));
    }
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(whole(name, "文件是空的。"));
    }
    match bytes {
        [b'P', b'K', ..] => xlsx(name, bytes),
        [0xD0, 0xCF, 0x11, 0xE0, ..] => {
            Err(whole(name, "这是旧格式的表格（.xls）或加了密码，请另存为没有密码的 .xlsx 再导入。"))
        }
        _ => csv(name, bytes).map(|sheet| vec![sheet]),
    }
}

fn xlsx(name: &str, bytes: &[u8]) -> Result<Vec<Sheet>, Vec<Fault>> {
    let broken =
        |e: calamine::XlsxError| whole(name, format!("不是能读的 .xlsx 表格（{e}），请重新保存一次。"));
    let mut book: Xlsx<_> = Xlsx::new(Cursor::new(bytes)).map_err(broken)?;
    let (rows, columns, sheets) = MOST;
    let names = book.sheet_names();
    if names.len() > sheets {
        return Err(whole(name, format!("工作表超过 {sheets} 张。")));
    }
    let mut out = Vec::new();
    for title in names {
        let mut sheet = Sheet { name: title.clone(), rows: Vec::new() };
        // A sheet that is a chart has no cells.
        let merged = book.merge_cells_by_sheet_name(&title).unwrap_or_default();
        {
            let mut cells = match book.worksheet_cells_reader(&title) {
                Ok(cells) => cells,
                Err(calamine::XlsxError::WorksheetNotFound(_)) => continue,
                Err(e) => return Err(broken(e)),
            };
            while let Some(cell) = cells.next_cell().map_err(broken)? {
                let (row, column) = cell.get_position();
                let at = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
                let (row, column) = (at(row), at(column));
                let text = written(cell.get_value());
                if text.is_empty() {
                    continue;
                }
                if row >= rows || column >= columns {
                    let what = format!("这里还有内容，课表最多 {rows} 行 {columns} 列，请删掉多余的单元格。");
                    return Err(vec![sheet.fault(row, column, what)]);
                }
                sheet.put(row, column, text);
            }
        }
        // A lesson of two periods is one cell over two rows.
        for span in merged {
            let at = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
            let text = sheet.cell(at(span.start.0), at(span.start.1)).to_owned();
            if text.is_empty() {
                continue;
            }
            for row in at(span.start.0)..=at(span.end.0).min(rows - 1) {
                for column in at(span.start.1)..=at(span.end.1).min(columns - 1) {
                    sheet.put(row, column, text.clone());
                }
            }
        }
        out.push(sheet);
    }
    Ok(out)
}

fn written(value: &DataRef<'_>) -> String {
    let text = match value {
        DataRef::Int(n) => n.to_string(),
        DataRef::Float(n) => n.to_string(),
        DataRef::String(text) | DataRef::DateTimeIso(text) | DataRef::DurationIso(text) => text.clone(),
        DataRef::SharedString(text) => (*text).to_owned(),
        DataRef::Bool(yes) => yes.to_string(),
        DataRef::DateTime(moment) => {
            let (year, month, day, hour, minute, ..) = moment.to_ymd_hms_milli();
            if moment.as_f64() < 1.0 {
                format!("{hour:02}:{minute:02}")
            } else {
                format!("{year:04}-{month:02}-{day:02}")
            }
        }
        DataRef::Error(_) | DataRef::Empty => String::new(),
    };
    text.chars().take(MAX_CELL).collect()
}

fn csv(name: &str, bytes: &[u8]) -> Result<Sheet, Vec<Fault>> {
    let text = decoded(bytes).ok_or_else(|| {
        whole(name, "不是文字文件，或者用了认不出的编码，请另存为 .xlsx 或 UTF-8 的 CSV 再导入。")
    })?;
    let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let count = |c: char| first.matches(c).count();
    let delimiter = [b'\t', b';'].into_iter().find(|d| count(char::from(*d)) > count(',')).unwrap_or(b',');
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let mut sheet = Sheet { name: stem.to_owned(), rows: Vec::new() };
    let mut reader = ::csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(delimiter)
        .from_reader(text.as_bytes());
    let (rows, columns, _) = MOST;
    let (mut line, mut counted) = (0, 0);
    for record in reader.records() {
        let record = record.map_err(|e| whole(name, format!("不是能读的 CSV（{e}）。")))?;
        // The row as an editor counts it: empty lines count, and the reader passes over them before a record.
        let from = record.position().map_or(0, ::csv::Position::byte);
        let from = usize::try_from(from).unwrap_or(usize::MAX).min(text.len());
        let empty = text.as_bytes()[from..].iter().take_while(|c| matches!(c, b'\r' | b'\n')).count();
        let begins = from + empty;
        line += text.as_bytes()[counted..begins].iter().filter(|c| **c == b'\n').count();
        counted = begins;
        let row = line.max(sheet.rows.len());
        if row >= rows || record.len() > columns {
            return Err(vec![sheet.fault(row, 0, format!("课表最多 {rows} 行 {columns} 列。"))]);
        }
        for (column, cell) in record.iter().enumerate() {
            sheet.put(row, column, cell.chars().take(MAX_CELL).collect());
        }
    }
    Ok(sheet)
}

/// Text of any of the encodings spreadsheets here write.
pub fn decoded(bytes: &[u8]) -> Option<String> {
    if let Some((encoding, marks)) = encoding_rs::Encoding::for_bom(bytes) {
        let (text, broken) = encoding.decode_without_bom_handling(&bytes[marks..]);
        return (!broken).then(|| text.into_owned()).filter(|t| is_text(t));
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Some(text.to_owned()).filter(|t| is_text(t));
    }
    let (text, broken) = encoding_rs::GB18030.decode_without_bom_handling(bytes);
    (!broken).then(|| text.into_owned()).filter(|t| is_text(t))
}

fn is_text(text: &str) -> bool {
    !text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t'))
}
