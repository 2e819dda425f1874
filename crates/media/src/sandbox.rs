//! The cage a decoder of users' files runs in: rlimits, no new privileges, an empty network namespace, landlock (reads
//! nothing but its libraries and its input) and seccomp (no sockets, no new processes, no tracing, mounting or keys).
//! Each holds where the kernel has it; `SandboxReport` says which did. Rules are built before the fork: what runs
//! between fork and exec (`Cage::enter`) makes system calls only and allocates nothing.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, Scope,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

use crate::Limits;

/// Which walls stand around a decoder on this kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SandboxReport {
    /// Memory, CPU time, file size, open files, no core dumps.
    pub rlimits: bool,
    /// No file but its input and its libraries can be opened.
    pub landlock: bool,
    /// No socket, no new process, no ptrace, mount, bpf or keys.
    pub seccomp: bool,
    /// A network namespace without any interface.
    pub network_namespace: bool,
}

/// What a child may do.
pub(crate) enum Confinement {
    /// Parses users' bytes.
    Decoder { memory_bytes: u64, cpu_seconds: u64, file_bytes: u64 },
    /// Sees only our own bytes and may need the GPU's driver: it just dies with us and leaves no core.
    Encoder,
}

impl Confinement {
    pub(crate) fn decoder(limits: &Limits) -> Self {
        let (memory_bytes, cpu_seconds) = (limits.decode_memory_bytes, limits.decode_cpu_seconds);
        Self::Decoder { memory_bytes, cpu_seconds, file_bytes: 0 }
    }
}

/// Built before the fork, entered after it.
pub(crate) struct Cage {
    parent: libc::pid_t,
    rlimits: Vec<(libc::__rlimit_resource_t, u64)>,
    inherited: Vec<RawFd>,
    walls: Option<Walls>,
    report: Option<OwnedFd>,
}

struct Walls {
    landlock: Option<OwnedFd>,
    seccomp: BpfProgram,
}

const RLIMITS: u8 = 1;
const LANDLOCK: u8 = 2;
const SECCOMP: u8 = 4;
const NETWORK: u8 = 8;

impl SandboxReport {
    pub(crate) fn from_byte(held: u8) -> Self {
        Self {
            rlimits: held & RLIMITS != 0,
            landlock: held & LANDLOCK != 0,
            seccomp: held & SECCOMP != 0,
            network_namespace: held & NETWORK != 0,
        }
    }
}

impl Cage {
    /// `inputs` are the files the child may read, by the descriptors it inherits; `inherited` are further descriptors.
    pub(crate) fn new(
        confinement: &Confinement,
        program: &Path,
        inputs: &[BorrowedFd<'_>],
        inherited: &[BorrowedFd<'_>],
    ) -> Self {
        let mut rlimits = vec![(libc::RLIMIT_CORE, 0)];
        let walls = match *confinement {
            Confinement::Encoder => None,
            Confinement::Decoder { memory_bytes, cpu_seconds, file_bytes } => {
                rlimits.extend([
                    (libc::RLIMIT_AS, memory_bytes),
                    (libc::RLIMIT_CPU, cpu_seconds),
                    (libc::RLIMIT_FSIZE, file_bytes),
                    (libc::RLIMIT_NOFILE, 64),
                ]);
                Some(Walls { landlock: landlock_rules(program, inputs), seccomp: seccomp_rules() })
            }
        };
        Self {
            parent: std::process::id() as libc::pid_t,
            rlimits,
            inherited: inputs.iter().chain(inherited).map(AsRawFd::as_raw_fd).collect(),
            walls,
            report: None,
        }
    }

    /// The child writes one byte here that says which walls it put up.
    pub(crate) fn report_to(mut self, pipe: OwnedFd) -> Self {
        self.report = Some(pipe);
        self
    }

    /// Runs in the child between fork and exec: system calls only.
    pub(crate) fn enter(&self) -> io::Result<()> {
        let mut held = 0;
        // SAFETY: plain system calls on values that live in `self`; nothing here allocates or locks.
        unsafe {
            // whatever a library left open without CLOEXEC stays out of the child
            libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC);
            for &fd in &self.inherited {
                if libc::fcntl(fd, libc::F_SETFD, 0) != 0 {
                    return Err(io::Error::last_os_error());
                }
            }
            if self.walls.is_some() {
                // a user namespace is how an ordinary user gets a network namespace
                let alone = libc::unshare(libc::CLONE_NEWNET) == 0
                    || libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNET) == 0;
                held |= if alone { NETWORK } else { 0 };
            }
            // after unshare: a change of credentials clears it
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            if libc::getppid() != self.parent {
                libc::_exit(127); // the parent died before the line above
            }
            let mut all = true;
            for &(resource, value) in &self.rlimits {
                let limit = libc::rlimit { rlim_cur: value, rlim_max: value };
                all &= libc::setrlimit(resource, &limit) == 0;
            }
            held |= if all { RLIMITS } else { 0 };
            if let Some(walls) = &self.walls {
                libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
                if let Some(rules) = &walls.landlock {
                    let done = libc::syscall(libc::SYS_landlock_restrict_self, rules.as_raw_fd(), 0) == 0;
                    held |= if done { LANDLOCK } else { 0 };
                }
                held |= if seccompiler::apply_filter(&walls.seccomp).is_ok() { SECCOMP } else { 0 };
            }
            if let Some(report) = &self.report {
                libc::write(report.as_raw_fd(), (&raw const held).cast(), 1);
            }
        }
        Ok(())
    }
}

/// `None` where the kernel has no landlock.
fn landlock_rules(program: &Path, inputs: &[BorrowedFd<'_>]) -> Option<OwnedFd> {
    const NEWEST: ABI = ABI::V6;
    let read = AccessFs::ReadFile | AccessFs::ReadDir | AccessFs::Execute;
    let build = || -> Result<Option<OwnedFd>, landlock::RulesetError> {
        let mut rules = Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(NEWEST))?
            .handle_access(AccessNet::from_all(NEWEST))?
            .scope(Scope::from_all(NEWEST))?
            .create()?;
        for path in readable(program) {
            if let Ok(fd) = PathFd::new(&path) {
                let access = if path.is_dir() { read } else { AccessFs::ReadFile | AccessFs::Execute };
                rules = rules.add_rule(PathBeneath::new(fd, access))?;
            }
        }
        for &input in inputs {
            rules = rules.add_rule(PathBeneath::new(input, AccessFs::ReadFile))?;
        }
        Ok(rules.into())
    };
    build().ok().flatten()
}

/// The program, its libraries and what the loader reads. Not /etc, not /proc, not /home, not /tmp.
fn readable(program: &Path) -> Vec<PathBuf> {
    let fixed = [
        "/usr",
        "/lib",
        "/lib32",
        "/lib64",
        "/bin",
        "/nix/store",
        "/etc/ld.so.cache",
        "/etc/ld.so.preload",
        "/etc/ld-musl-x86_64.path",
        "/dev/null",
        "/dev/zero",
        "/dev/urandom",
        "/sys/devices/system/cpu",
    ];
    let mut paths: Vec<PathBuf> = fixed.iter().map(PathBuf::from).collect();
    let real = program.canonicalize().unwrap_or_else(|_| program.to_owned());
    if let Some(prefix) = real.parent().and_then(Path::parent) {
        paths.extend(["lib", "lib64"].map(|lib| prefix.join(lib)));
    }
    paths.push(real);
    paths
}

/// Everything in the list fails with ENOSYS, which glibc takes as "old kernel" (clone3) and ffmpeg as a plain error.
fn seccomp_rules() -> BpfProgram {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = DENIED.iter().map(|&call| (call, Vec::new())).collect();
    // threads yes, processes no: `clone` without CLONE_THREAD
    let thread = libc::CLONE_THREAD as u64;
    let process = SeccompCondition::new(0, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(thread), 0)
        .and_then(|c| SeccompRule::new(vec![c]));
    rules.insert(libc::SYS_clone, vec![process.expect("argument 0 exists and the list has one condition")]);
    // its own limits it may read, as glibc does when a thread starts; 0 is the caller
    let others = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, 0)
        .and_then(|c| SeccompRule::new(vec![c]));
    rules
        .insert(libc::SYS_prlimit64, vec![others.expect("argument 0 exists and the list has one condition")]);
    let arch =
        std::env::consts::ARCH.try_into().expect("talkie is built for x86_64, aarch64 and riscv64 only");
    let deny = SeccompAction::Errno(libc::ENOSYS as u32);
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, deny, arch);
    filter.and_then(BpfProgram::try_from).expect("the list is constant and tested")
}

const DENIED: &[i64] = &[
    libc::SYS_clone3,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_fork,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_vfork,
    libc::SYS_socket,
    libc::SYS_socketpair,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
    // also to itself: a decoder that aborts ends by the trap behind it
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_tgkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_sched_setaffinity,
    libc::SYS_setpriority,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_kcmp,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsmount,
    libc::SYS_open_tree,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_syslog,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_personality,
];

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::fs::File;
    use std::sync::Arc;

    use contract::Stop;

    use super::*;
    use crate::child::{Child, Feed, Order, Spawner};

    /// Runs a script as decoders are run; what it said and whether it ended well.
    fn caged(script: &str, inputs: Vec<Arc<File>>, memory_bytes: u64) -> (bool, String, SandboxReport) {
        let order = Order {
            program: "/bin/bash".into(),
            args: ["--norc", "-c", script].map(OsString::from).to_vec(),
            confinement: Confinement::Decoder { memory_bytes, cpu_seconds: 20, file_bytes: 0 },
            stdin: Feed::Nothing,
            inputs,
            pipes: Vec::new(),
            library_path: None,
        };
        let (mut reader, writer) = std::io::pipe().unwrap();
        let patience = (std::time::Duration::from_secs(20), &Stop::new());
        let mut child =
            Child::start_reporting(&Spawner::start().unwrap(), order, Some(writer.into()), patience).unwrap();
        let mut said = vec![0; 4096];
        let n = child.fill(&mut said).unwrap();
        said.truncate(n);
        let exit = child.finish().unwrap();
        let mut held = [0];
        std::io::Read::read_exact(&mut reader, &mut held).unwrap();
        let said = String::from_utf8_lossy(&said).into_owned() + &exit.stderr;
        (exit.well(), said, SandboxReport::from_byte(held[0]))
    }

    const ROOM: u64 = 1 << 30;

    #[test]
    fn a_decoder_opens_its_input_and_no_other_file() {
        let folder = tempfile::tempdir().unwrap();
        let (own, other) = (folder.path().join("own"), folder.path().join("other"));
        std::fs::write(&own, "mine").unwrap();
        std::fs::write(&other, "secret").unwrap();
        let input = Arc::new(File::open(&own).unwrap());
        let fd = input.as_raw_fd();
        let (_, said, report) = caged(&format!("read -r x < /proc/self/fd/{fd}; echo $x"), vec![input], ROOM);
        assert!(said.contains("mine"), "{said}");
        if report.landlock {
            for path in [other.to_str().unwrap(), "/etc/passwd", "/proc/self/environ", "/proc/1/cmdline"] {
                let (well, said, _) = caged(&format!("read -r x < {path} && echo got $x"), Vec::new(), ROOM);
                assert!(!well && !said.contains("got"), "{path}: {said}");
            }
            let made = folder.path().join("made");
            let (well, _, _) = caged(&format!("echo x > {}", made.display()), Vec::new(), ROOM);
            assert!(!well && !made.exists());
        }
    }

    #[test]
    fn a_decoder_has_no_network_no_children_and_no_signals_for_others() {
        let (_, said, report) = caged("exec 3<>/dev/tcp/127.0.0.1/9", Vec::new(), ROOM);
        if report.seccomp {
            let parent = std::process::id();
            let (well, _, _) = caged(&format!("kill -0 {parent}"), Vec::new(), ROOM);
            assert!(!well, "it may signal its parent");
            assert!(said.contains("not implemented"), "{said}");
            let (_, said, _) = caged("/bin/true; echo status $?", Vec::new(), ROOM);
            assert!(said.contains("fork") && !said.contains("status 0"), "{said}");
        } else if report.network_namespace {
            assert!(said.contains("unreachable"), "{said}");
        }
    }

    #[test]
    fn a_decoder_is_held_to_its_memory() {
        let (_, said, report) =
            caged("x=$(</dev/null); ulimit -v; ulimit -c; ulimit -f", Vec::new(), 300 << 20);
        assert!(report.rlimits);
        assert!(said.ends_with("307200\n0\n0\n"), "{said}");
    }

    #[test]
    fn an_encoder_is_not_walled_in() {
        let cage = Cage::new(&Confinement::Encoder, Path::new("/bin/true"), &[], &[]);
        assert!(cage.walls.is_none());
    }
}
