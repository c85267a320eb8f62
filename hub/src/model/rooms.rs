//! A list of rooms, as a school has it in a spreadsheet: a room in a row, and its device's id where it is to have a certain one.

use lectern_wire::id::DeviceId;

use super::name;
use super::timetable::fold;
use super::timetable::sheet::{self, Sheet};

/// Rooms of one list, at most.
pub const MOST: usize = 2000;

/// A room that is to enrol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Room {
    /// As people say it.
    pub name: String,
    /// Its device's id, where a certain one is wanted.
    pub device: Option<DeviceId>,
}

/// Reads a list: XLSX, or CSV in any encoding that spreadsheets write here. A first row that says 教室 or room is a heading,
/// and says which column is which; without one the rooms stand in the first column and ids in the second.
///
/// # Errors
/// Every fault, with its place.
pub fn read(file: &str, bytes: &[u8]) -> Result<Vec<Room>, Vec<String>> {
    let sheets = sheet::sheets(file, bytes)
        .map_err(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    let sheet = sheets.into_iter().find(|s| !s.rows.is_empty()).unwrap_or_default();
    let (heading, room_at, device_at) = columns(&sheet);
    let (mut rooms, mut faults): (Vec<Room>, Vec<String>) = Default::default();
    for row in heading.map_or(0, |row| row + 1)..sheet.rows.len() {
        let (text, id) = (sheet.cell(row, room_at), device_at.map_or("", |at| sheet.cell(row, at)));
        if text.is_empty() && id.is_empty() {
            continue;
        }
        let Some(name) = name::room(text) else {
            faults.push(sheet.fault(row, room_at, "教室名称要 1 到 40 个字。").to_string());
            continue;
        };
        let device = if id.is_empty() { Ok(None) } else { DeviceId::new(fold::text(id)).map(Some) };
        let device = match device {
            Ok(device) => device,
            Err(_) => {
                let what = "设备编号只用小写字母、数字、- 和 _，以字母或数字开头，最多 40 个字。";
                faults.push(sheet.fault(row, device_at.unwrap_or(0), what).to_string());
                continue;
            }
        };
        let twice = |known: &Room| known.name == name || device.is_some() && known.device == device;
        if rooms.iter().any(twice) {
            faults.push(sheet.fault(row, room_at, format!("{name} 写了两次。")).to_string());
        }
        rooms.push(Room { name, device });
    }
    if rooms.len() > MOST {
        faults.push(format!("一次最多 {MOST} 间教室。"));
    }
    if rooms.is_empty() && faults.is_empty() {
        faults.push("表里没有教室。第一列写教室名称，每行一间。".into());
    }
    if faults.is_empty() { Ok(rooms) } else { Err(faults) }
}

/// The heading's row, if there is one, and the columns of rooms and ids.
fn columns(sheet: &Sheet) -> (Option<usize>, usize, Option<usize>) {
    let first = sheet.rows.iter().position(|row| row.iter().any(|cell| !cell.trim().is_empty())).unwrap_or(0);
    let words: Vec<_> = sheet.rows.get(first).into_iter().flatten().map(|cell| fold::text(cell)).collect();
    let is_room = |word: &String| matches!(word.as_str(), "教室" | "教室名称" | "教室名" | "room" | "name");
    let is_device = |word: &String| matches!(word.as_str(), "设备" | "设备编号" | "编号" | "device" | "id");
    match words.iter().position(is_room) {
        Some(room) => (Some(first), room, words.iter().position(is_device)),
        None => (None, 0, Some(1)),
    }
}

/// A device id for a room that has none: of what letters and digits its name has, `room-301` for 301教室, or else a number.
#[must_use]
pub fn device_for(room: &str, taken: impl Fn(&DeviceId) -> bool) -> DeviceId {
    let mut plain = String::new();
    for c in fold::text(room).chars() {
        if c.is_ascii_alphanumeric() {
            plain.push(c);
        } else if !plain.is_empty() && !plain.ends_with('-') {
            plain.push('-');
        }
    }
    let plain: String = plain.trim_matches('-').chars().take(24).collect();
    let named = |n: u32| match (plain.as_str(), n) {
        ("", n) => format!("room-{n}"),
        (plain, 1) => format!("room-{plain}"),
        (plain, n) => format!("room-{plain}-{n}"),
    };
    let mut free = (1..).filter_map(|n| DeviceId::new(named(n)).ok()).filter(|id| !taken(id));
    #[expect(clippy::expect_used, reason = "there are more numbers than devices")]
    free.next().expect("a free number")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(name: &str, device: Option<&str>) -> Room {
        Room { name: name.into(), device: device.map(|id| DeviceId::new(id).expect("id")) }
    }

    #[test]
    fn rooms_are_read_with_and_without_a_heading() {
        let read = |text: &str| read("rooms.csv", text.as_bytes());
        assert_eq!(read("301教室\n302教室\n"), Ok(vec![room("301教室", None), room("302教室", None)]));
        assert_eq!(
            read("楼层,设备编号,教室\n3,ROOM-7,301教室\n\n3,,录播室\n"),
            Ok(vec![room("301教室", Some("room-7")), room("录播室", None)])
        );
        let (gb, _, _) = encoding_rs::GB18030.encode("教室\n音乐教室\n");
        assert_eq!(super::read("r.csv", &gb), Ok(vec![room("音乐教室", None)]));
        let faults = read("301教室\n301教室\n302教室,_x\n").expect_err("faults");
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert_eq!(read("教室\n").expect_err("empty").len(), 1);
    }

    #[test]
    fn a_room_gets_an_id_that_people_know_again() {
        let id = |room: &str, taken: &[&str]| {
            device_for(room, |id| taken.contains(&id.as_str())).as_str().to_owned()
        };
        assert_eq!(id("301教室", &[]), "room-301");
        assert_eq!(id("３０１教室", &["room-301"]), "room-301-2");
        assert_eq!(id("A楼 3-1 室", &[]), "room-a-3-1");
        assert_eq!(id("录播室", &["room-1"]), "room-2");
    }
}
