//! Memory that is held without being needed: what the C library keeps back, what was needed at the start alone.
#![expect(unsafe_code, reason = "three calls of the C library without a safe wrapper")]

/// One heap for all threads. Else each thread gets one of its own, which never shrinks: megabytes, for a daemon that
/// seldom does two things at once. Before any thread is started.
pub fn share_heap() {
    // SAFETY: sets a number; no other thread runs yet.
    let set = unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
    if set == 0 {
        tracing::debug!("the C library does not share its heap");
    }
}

/// Gives what was freed back to the system; worth it after something large.
pub fn give_back() {
    // SAFETY: may be called at any time from any thread.
    unsafe { libc::malloc_trim(0) };
}

/// Gives back what only the start or a lesson needed: free heap, and pages of the program and its libraries that were run
/// once. Those lie on in the system's cache and are there again when they are run again.
pub fn come_to_rest() {
    give_back();
    let maps = match std::fs::read_to_string("/proc/self/smaps") {
        Ok(maps) => maps,
        Err(e) => return tracing::debug!("/proc/self/smaps: {e}"),
    };
    for (start, length) in unchanged(&maps) {
        let start = std::ptr::without_provenance_mut(start);
        // SAFETY: a private mapping of a file that cannot be written and of which no page was ever changed: whatever is
        // read there afterwards comes from the file as before. It is never unmapped: libraries are not unloaded.
        let given = unsafe { libc::madvise(start, length, libc::MADV_DONTNEED) };
        if given != 0 {
            tracing::debug!("pages were not given back: {}", std::io::Error::last_os_error());
        }
    }
}

/// Start and length of mappings that are their files' bytes and nothing else, see proc(5).
fn unchanged(smaps: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut place = None;
    for line in smaps.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["Anonymous:", "0", "kB"] => found.extend(place.take()),
            [range, rights, _, _, _, path, ..] if range.contains('-') => {
                let ends = range.split_once('-').and_then(|(start, end)| {
                    let hex = |text| usize::from_str_radix(text, 16).ok();
                    Some((hex(start)?, hex(end)?))
                });
                let whole = matches!(rights, "r--p" | "r-xp") && path.starts_with('/');
                place = ends.filter(|_| whole).map(|(start, end)| (start, end.saturating_sub(start)));
            }
            [range, ..] if range.contains('-') => place = None,
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_the_files_own_bytes_is_given_back() {
        let smaps = "5000-7000 r-xp 00001000 08:01 42 /usr/bin/lectern\nSize: 8 kB\nAnonymous:             0 kB\n\
            7000-8000 r--p 00003000 08:01 42 /usr/bin/lectern\nAnonymous:             4 kB\n\
            8000-9000 rw-p 00004000 08:01 42 /usr/bin/lectern\nAnonymous:             0 kB\n\
            9000-a000 r--s 00000000 08:01 43 /var/lib/x\nAnonymous:             0 kB\n\
            a000-b000 r--p 00000000 00:00 0\nAnonymous:             0 kB\n\
            b000-c000 r-xp 00000000 00:00 0 [vdso]\nAnonymous:             0 kB\n\
            c000-f000 r--p 00000000 08:01 44 /usr/lib/libc.so.6 (deleted)\nAnonymous:             0 kB\n";
        assert_eq!(unchanged(smaps), [(0x5000, 0x2000), (0xc000, 0x3000)]);
    }

    #[test]
    fn a_program_that_came_to_rest_goes_on() {
        let before = std::fs::read_to_string("/proc/self/cmdline").expect("reads");
        come_to_rest();
        assert_eq!(std::fs::read_to_string("/proc/self/cmdline").expect("reads"), before);
    }
}
