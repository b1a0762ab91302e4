//! The memory still available to this process.

use std::path::Path;

/// In bytes: the machine's available memory, or less if a control group limits it; None if the system does not report
/// it.
pub fn available_memory() -> Option<usize> {
    among(Path::new("/proc/meminfo"), Path::new("/sys/fs/cgroup"))
}

/// As [`available_memory`], from the file `meminfo`; `groups` is where a process in a container sees its own control
/// group: version 2, and version 1 in `memory`.
fn among(meminfo: &Path, groups: &Path) -> Option<usize> {
    let v1 = groups.join("memory");
    let found = [
        of_machine(meminfo),
        rest(&groups.join("memory.max"), &groups.join("memory.current")),
        rest(&v1.join("memory.limit_in_bytes"), &v1.join("memory.usage_in_bytes")),
    ];
    found.into_iter().flatten().min()
}

fn of_machine(meminfo: &Path) -> Option<usize> {
    let text = std::fs::read_to_string(meminfo).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.split_whitespace().next()?.parse::<usize>().ok()? * 1024)
}

/// The bytes between a control group's usage and its limit; None if the limit is the word `max`.
fn rest(limit: &Path, used: &Path) -> Option<usize> {
    let [limit, used] = [limit, used].map(|path| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok());
    Some(usize::try_from(limit?.saturating_sub(used?)).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_when_the_system_and_its_groups_tell_is_the_least() -> std::io::Result<()> {
        let dir = tempfile::tempdir()?;
        let meminfo = dir.path().join("meminfo");
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text);
        assert_eq!(among(&meminfo, dir.path()), None);
        write("meminfo", "MemTotal: 10 kB\nMemAvailable:   4 kB\n")?;
        assert_eq!(among(&meminfo, dir.path()), Some(4096));
        write("memory.max", "100\n")?;
        write("memory.current", "30\n")?;
        assert_eq!(among(&meminfo, dir.path()), Some(70));
        write("memory.current", "130\n")?;
        assert_eq!(among(&meminfo, dir.path()), Some(0));
        write("memory.max", "max\n")?;
        assert_eq!(among(&meminfo, dir.path()), Some(4096));
        std::fs::create_dir(dir.path().join("memory"))?;
        write("memory/memory.limit_in_bytes", "18446744073709551615\n")?;
        write("memory/memory.usage_in_bytes", "5\n")?;
        assert_eq!(among(&meminfo, dir.path()), Some(4096));
        write("memory/memory.limit_in_bytes", "50\n")?;
        assert_eq!(among(&meminfo, dir.path()), Some(45));
        Ok(())
    }
}
