//! A table for a spreadsheet program: CSV (UTF-8 with a mark, as such programs want it) or XLSX.
//!
//! Texts come from people and rooms. A spreadsheet program would take one that begins like a formula for a formula, so in
//! CSV it gets an apostrophe before it, as those programs write it themselves; in XLSX it is a text by its type.

use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use rust_xlsxwriter::{Format, Workbook, XlsxError};

use super::Oops;
use super::media::attach;

/// One cell.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// Text, as it is.
    Text(String),
    /// A number.
    Number(f64),
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

/// A table.
#[derive(Debug, Clone)]
pub struct Spreadsheet {
    /// Of the file, without its ending.
    pub name: String,
    /// Of the sheet.
    pub sheet: &'static str,
    /// What stands above the columns.
    pub columns: Vec<&'static str>,
    /// The rows, each as long as the columns.
    pub rows: Vec<Vec<Cell>>,
}

/// Which file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Comma-separated.
    Csv,
    /// Office Open XML.
    Xlsx,
}

impl Kind {
    /// The kind of a file's ending.
    #[must_use]
    pub fn named(ending: &str) -> Option<Self> {
        match ending {
            "csv" => Some(Self::Csv),
            "xlsx" => Some(Self::Xlsx),
            _ => None,
        }
    }
}

impl Spreadsheet {
    /// The table as a download.
    pub fn download(&self, kind: Kind) -> Result<Response, Oops> {
        let (bytes, what, ending) = match kind {
            Kind::Csv => (self.csv().map_err(|e| e.to_string()), "text/csv; charset=utf-8", "csv"),
            Kind::Xlsx => (
                self.xlsx().map_err(|e| e.to_string()),
                "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
                "xlsx",
            ),
        };
        let bytes = bytes.map_err(|e| {
            tracing::error!("a table could not be written: {e}");
            Oops::new(axum::http::StatusCode::INTERNAL_SERVER_ERROR, "表格没有做出来，请少选几天再试。")
        })?;
        let mut response = ([(header::CONTENT_TYPE, what)], bytes).into_response();
        attach(&mut response, &format!("{}.{ending}", self.name));
        Ok(response)
    }

    fn csv(&self) -> Result<Vec<u8>, csv::Error> {
        let mut out =
            csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(vec![0xEF, 0xBB, 0xBF]);
        out.write_record(&self.columns)?;
        for row in &self.rows {
            out.write_record(row.iter().map(|cell| match cell {
                Cell::Text(text) => harmless(text),
                Cell::Number(number) => number.to_string(),
            }))?;
        }
        out.into_inner().map_err(|e| e.into_error().into())
    }

    fn xlsx(&self) -> Result<Vec<u8>, XlsxError> {
        let mut book = Workbook::new();
        let sheet = book.add_worksheet();
        sheet.set_name(self.sheet)?;
        let bold = Format::new().set_bold();
        for (column, name) in (0..).zip(&self.columns) {
            sheet.write_string_with_format(0, column, *name, &bold)?;
        }
        for (row, cells) in (1..).zip(&self.rows) {
            for (column, cell) in (0..).zip(cells) {
                match cell {
                    Cell::Text(text) => sheet.write_string(row, column, text)?,
                    Cell::Number(number) => sheet.write_number(row, column, *number)?,
                };
            }
        }
        sheet.set_freeze_panes(1, 0)?;
        sheet.autofit();
        book.save_to_buffer()
    }
}

/// A text that no spreadsheet program takes for a formula (OWASP, CSV injection).
fn harmless(text: &str) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']) {
        format!("'{text}")
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use calamine::{Data, Reader as _, Xlsx};

    use super::*;

    fn table() -> Spreadsheet {
        let texts = ["=HYPERLINK(\"http://x\")", "-2+3", "五年级2班, \"快\"", "+86", "@x", "=1"];
        let mut rows: Vec<Vec<Cell>> =
            texts.iter().map(|text| vec![(*text).into(), Cell::Number(38.5)]).collect();
        rows.push(vec!["".into(), Cell::Number(-2.0)]);
        Spreadsheet {
            name: "使用记录".into(), sheet: "使用记录", columns: vec!["班级", "分钟"], rows
        }
    }

    #[test]
    fn a_csv_file_begins_with_its_mark_and_holds_no_formula() {
        let bytes = table().csv().expect("csv");
        let text = std::str::from_utf8(&bytes).expect("utf-8");
        let text = text.strip_prefix('\u{feff}').expect("the mark");
        let mut read = csv::ReaderBuilder::new().has_headers(false).from_reader(text.as_bytes());
        let rows: Vec<Vec<String>> =
            read.records().map(|row| row.expect("row").iter().map(str::to_owned).collect()).collect();
        let first: Vec<_> = rows.iter().map(|row| row[0].as_str()).collect();
        let want =
            ["班级", "'=HYPERLINK(\"http://x\")", "'-2+3", "五年级2班, \"快\"", "'+86", "'@x", "'=1", ""];
        assert_eq!(first, want);
        assert_eq!((rows[1][1].as_str(), rows[7][1].as_str()), ("38.5", "-2"), "a number is no formula");
        assert!(text.contains("\r\n"));
    }

    #[test]
    fn an_xlsx_file_holds_texts_as_texts_and_numbers_as_numbers() {
        let bytes = table().xlsx().expect("xlsx");
        let mut book: Xlsx<_> = calamine::open_workbook_from_rs(std::io::Cursor::new(bytes)).expect("opens");
        let sheet = book.worksheet_range("使用记录").expect("a sheet");
        assert_eq!(sheet.get_value((1, 0)), Some(&Data::String("=HYPERLINK(\"http://x\")".into())));
        assert_eq!(sheet.get_value((1, 1)), Some(&Data::Float(38.5)));
        let formulas = book.worksheet_formula("使用记录").expect("formulas");
        assert_eq!(formulas.used_cells().count(), 0);
    }
}
