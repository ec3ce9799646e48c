//! Facts about this machine and its processes, from `/proc` (proc(5)).

use std::{fs, io};

use nix::{
    sys::resource::{Resource, getrlimit},
    unistd::{SysconfVar, sysconf},
};

/// The machine, in the units of Trove's management view of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hardware {
    /// Usable memory in KiB.
    pub mem_total: u64,
    /// Processors that are online.
    pub num_cpus: u32,
}

/// One process, in the units of Trove's management view: KiB, as in
/// `/proc/PID/status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessDiagnostics {
    /// Number of threads.
    pub threads: u64,
    /// Size of the descriptor table (slots, not open files).
    pub fd_size: u64,
    /// Address space in KiB.
    pub vm_size: u64,
    /// Largest address space so far, in KiB.
    pub vm_peak: u64,
    /// Resident memory in KiB.
    pub vm_rss: u64,
    /// Largest resident memory so far, in KiB.
    pub vm_hwm: u64,
}

/// Memory and processors of this machine.
pub fn hardware() -> io::Result<Hardware> {
    let memory = fs::read_to_string("/proc/meminfo")?;
    let online = sysconf(SysconfVar::_NPROCESSORS_ONLN)?;
    let num_cpus = online
        .and_then(|count| u32::try_from(count).ok())
        .unwrap_or(1);
    Ok(Hardware {
        mem_total: field(&memory, "MemTotal")?,
        num_cpus,
    })
}

/// How many files a child of this process may ask to hold open at once.
pub fn max_open_files() -> Option<u64> {
    let (_soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    Some(hard)
}

/// Threads, descriptors and memory of a process. The error is of kind
/// `NotFound` when there is none, and `InvalidData` for a kernel thread or a
/// zombie, which have no memory.
pub fn process_diagnostics(pid: u32) -> io::Result<ProcessDiagnostics> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    Ok(ProcessDiagnostics {
        threads: field(&status, "Threads")?,
        fd_size: field(&status, "FDSize")?,
        vm_size: field(&status, "VmSize")?,
        vm_peak: field(&status, "VmPeak")?,
        vm_rss: field(&status, "VmRSS")?,
        vm_hwm: field(&status, "VmHWM")?,
    })
}

/// The number after `name:`; a unit after it is always `kB`.
fn field(text: &str, name: &str) -> io::Result<u64> {
    text.lines()
        .filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .find_map(|value| value.split_whitespace().next()?.parse().ok())
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("no field {name}")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn this_machine_and_this_process() {
        let hardware = hardware().unwrap();
        assert!(
            hardware.mem_total > 10_000 && hardware.num_cpus >= 1,
            "{hardware:?}"
        );
        let own = process_diagnostics(std::process::id()).unwrap();
        assert!(own.threads >= 1 && own.fd_size >= 3, "{own:?}");
        assert!(own.vm_rss > 100 && own.vm_rss <= own.vm_hwm, "{own:?}");
        assert!(
            own.vm_size <= own.vm_peak && own.vm_rss < own.vm_size,
            "{own:?}"
        );
    }

    #[test]
    fn processes_without_memory_or_existence_are_errors() {
        // 2^22 is the largest number a process can have.
        let error = process_diagnostics(1 << 22).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        let kernel_thread = "Name:\tkthreadd\nFDSize:\t64\nThreads:\t1\n";
        assert_eq!(field(kernel_thread, "Threads").unwrap(), 1);
        assert_eq!(
            field(kernel_thread, "VmRSS").unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(?s).{0,200}", number in any::<u64>()) {
            let _either = field(&text, "VmRSS");
            prop_assert_eq!(field(&format!("VmRSS:\t{number} kB\n"), "VmRSS").unwrap(), number);
        }
    }
}
