//! What a process has used, as the kernel counts it.

use anyhow::Context as _;

/// Clock ticks per second in /proc: the kernel's USER_HZ, 100 on every machine Lectern runs on.
const TICKS: f64 = 100.0;

/// Processor time of a process, all its threads, ended ones too.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Processor {
    /// User and system, seconds; exact to 10 ms.
    pub seconds: f64,
    /// Whether the process has ended and only waits for us to ask how: then this is its whole life.
    pub ended: bool,
}

/// Reads it for a process that was not yet waited for.
///
/// # Errors
/// When there is no such process.
pub fn processor(pid: u32) -> anyhow::Result<Processor> {
    let path = format!("/proc/{pid}/stat");
    let text = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    parse_stat(&text).with_context(|| format!("{path} is not as expected"))
}

/// Processor seconds of a process and of its children that have ended.
///
/// # Errors
/// When there is no such process.
pub fn processor_with_children(pid: u32) -> anyhow::Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let text = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    let fields = text.get(text.rfind(')').unwrap_or(0) + 1..).unwrap_or_default();
    let ticks = fields.split_whitespace().skip(11).take(4).filter_map(|field| field.parse::<u32>().ok());
    Ok(ticks.map(f64::from).sum::<f64>() / TICKS)
}

/// How often a process's threads have gone to sleep by themselves so far; threads that have ended are not in it.
///
/// # Errors
/// When there is no such process.
pub fn wakeups(pid: u32) -> anyhow::Result<u64> {
    let folder = format!("/proc/{pid}/task");
    let mut sum = 0;
    for thread in std::fs::read_dir(&folder).with_context(|| folder.clone())?.flatten() {
        let text = std::fs::read_to_string(thread.path().join("status")).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        sum += line.and_then(|n| n.trim().parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(sum)
}

/// See proc(5): the name in parentheses may hold anything, so fields count from its end.
fn parse_stat(text: &str) -> Option<Processor> {
    let mut fields = text.get(text.rfind(')')? + 1..)?.split_whitespace();
    let state = fields.next()?;
    let mut ticks = fields.skip(10).map(|field| field.parse::<u32>().ok());
    let (user, system) = (ticks.next()??, ticks.next()??);
    Some(Processor { seconds: (f64::from(user) + f64::from(system)) / TICKS, ended: state == "Z" })
}

/// The most memory a process ever held at once, KiB; none once it has ended.
pub fn peak_kib(pid: u32) -> Option<u64> {
    kib_line(&std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?, "VmHWM:")
}

/// A process's own share of memory (PSS), KiB.
///
/// # Errors
/// When it has ended or belongs to somebody else.
pub fn share_kib(pid: u32) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    kib_line(&text, "Pss:").with_context(|| format!("{path} has no Pss"))
}

/// A process and all that descend from it and still run.
///
/// # Errors
/// When it has ended.
pub fn family(pid: u32) -> anyhow::Result<Vec<u32>> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir("/proc").context("/proc")?.flatten() {
        let Some(process) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // Whoever ends meanwhile is no longer of it.
        let text = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        all.extend(parent(&text).map(|parent| (process, parent)));
    }
    let there = all.iter().any(|(process, _)| *process == pid);
    anyhow::ensure!(there, "process {pid} has ended");
    let mut family = vec![pid];
    let mut next = 0;
    while let Some(&of) = family.get(next) {
        family.extend(all.iter().filter(|(_, parent)| *parent == of).map(|(process, _)| *process));
        next += 1;
    }
    Ok(family)
}

/// The parent in a line of stat; none of a process that has ended and only waits to be asked how.
fn parent(stat: &str) -> Option<u32> {
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_whitespace();
    let state = fields.next()?;
    fields.next()?.parse().ok().filter(|_| state != "Z")
}

/// The share of memory of a process and all that descend from it ([`family`]), KiB.
///
/// # Errors
/// As [`share_kib`]; a descendant that ends meanwhile holds nothing.
pub fn share_with_children_kib(pid: u32) -> anyhow::Result<u64> {
    let mut sum = share_kib(pid)?;
    for child in family(pid)?.into_iter().skip(1) {
        match share_kib(child) {
            Ok(kib) => sum += kib,
            Err(_) if family(child).is_err() => {}
            Err(why) => return Err(why),
        }
    }
    Ok(sum)
}

fn kib_line(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Duration;

    use lectern_tests::{Folder, Process, eventually};

    use super::*;

    #[test]
    fn a_stat_line_is_read_whatever_the_program_is_called() {
        let line = "42 (a) b (c) Z 1 42 42 0 -1 4194560 10 0 0 0 150 50 7 7 20 0 9 0 100 0 0";
        assert_eq!(parse_stat(line), Some(Processor { seconds: 2.0, ended: true }));
        assert_eq!(parse_stat("42 (x) S 1"), None);
    }

    #[test]
    fn a_family_is_a_process_with_its_children_and_theirs() {
        assert_eq!(parent("42 (a) b (c) S 7 42"), Some(7));
        assert_eq!(parent("42 (a) Z 7 42"), None, "who has ended is of no family");
        let folder = Folder::new().expect("a folder");
        let mut shell = Command::new("sh");
        shell.args(["-c", "sh -c 'sleep 60 & wait' & wait"]);
        let mut shell = Process::start(&folder, "sh", shell).expect("a shell");
        let three = || family(shell.pid()).ok().filter(|family| family.len() == 3);
        let three =
            eventually(Duration::from_secs(10), "a shell, a shell and a sleep", three).expect("three");
        let each: u64 = three.iter().map(|pid| share_kib(*pid).expect("its share")).sum();
        let all = share_with_children_kib(three[0]).expect("the sum");
        assert!(all > share_kib(three[1]).expect("its share"), "{all} KiB");
        assert!(all.abs_diff(each) < each / 2, "{all} KiB together, {each} one by one");
        shell.kill();
        assert!(family(three[0]).is_err() && share_with_children_kib(three[0]).is_err());
    }

    #[test]
    fn memory_lines_are_read_in_kib() {
        assert_eq!(kib_line("VmPeak:\t  9 kB\nVmHWM:\t  1234 kB\n", "VmHWM:"), Some(1234));
        assert_eq!(kib_line("Rss:  5 kB\nPss:  3 kB\nPss_Anon: 1 kB\n", "Pss:"), Some(3));
        assert_eq!(kib_line("", "Pss:"), None);
    }
}
