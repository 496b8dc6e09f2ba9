//! One run of QEMU: what goes in, what came out.
//!
//! Theory.      A run is a command, a limit in seconds and the moment at which it has shown all: QEMU's own end (the
//!              image leaves by semihosting), or, where the image cannot leave, the first line that ends the story.
//!              Everything on the console is kept, line by line, without the logger's stamps.
//! Invariants.  1. QEMU always runs under `timeout`: it ends even when the tests are killed.
//!              2. A run that passed its limit is told apart from every other end.
//! Not here.    The table of boards (`scripts/boards.sh`), which tests exist (`tests/qemu.rs`).

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A board as `scripts/qemu-args.sh` describes it.
#[derive(Clone, Debug)]
pub struct Board {
    /// QEMU's arguments, but for image, device tree, initrd and the image's arguments.
    pub args: Vec<String>,
    /// The board's device tree; `None` where QEMU brings its own.
    pub tree: Option<PathBuf>,
    /// A small initial file system.
    pub initrd: PathBuf,
}

impl Board {
    /// Looks `name` up, with `mem` such as `512M` and `smp` CPUs.
    ///
    /// # Errors
    ///
    /// The script's own words when it fails.
    pub fn new(name: &str, mem: &str, smp: u32) -> Result<Self, String> {
        let script = crate::root().join("scripts/qemu-args.sh");
        let output = Command::new(&script)
            .args([name, mem, &smp.to_string()])
            .output()
            .map_err(|e| format!("{}: {e}", script.display()))?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
        }
        let mut args: Vec<String> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
        let initrd = args.pop().ok_or("no initrd from qemu-args.sh")?.into();
        let tree = Some(args.pop().ok_or("no tree from qemu-args.sh")?).filter(|t| t != "-").map(PathBuf::from);
        if let Some(at) = args.iter().position(|a| a == "-dtb") {
            args.drain(at..at + 2);
        }
        Ok(Self { args, tree, initrd })
    }
}

/// A run to be made.
#[derive(Clone, Debug)]
pub struct Run {
    args: Vec<String>,
    limit: u32,
    until: Option<fn(&str) -> bool>,
}

impl Run {
    /// The machine alone: nothing is loaded yet.
    #[must_use]
    pub fn on(board: &Board) -> Self {
        Self { args: board.args.clone(), limit: 60, until: None }
    }

    /// The usual boot: QEMU loads image, tree and initrd.
    #[must_use]
    pub fn boot(board: &Board, image: &Path, bootargs: &str) -> Self {
        let mut run = Self::on(board).arg("-kernel").arg(text(image)).arg("-initrd").arg(text(&board.initrd));
        if let Some(tree) = &board.tree {
            run = run.arg("-dtb").arg(text(tree));
        }
        run.arg("-append").arg(bootargs)
    }

    /// Adds one argument for QEMU.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds `suffix` to the machine's name: `,secure=off`.
    #[must_use]
    pub fn machine_option(mut self, suffix: &str) -> Self {
        if let Some(machine) = self.args.iter().position(|a| a == "-M").and_then(|at| self.args.get_mut(at + 1)) {
            machine.push_str(suffix);
        }
        self
    }

    /// Lets the image call the host.
    #[must_use]
    pub fn semihosting(self) -> Self {
        self.arg("-semihosting-config").arg("enable=on,target=native")
    }

    /// Has `path`'s bytes in RAM at `address` before the start.
    #[must_use]
    pub fn load(self, path: &Path, address: u32) -> Self {
        self.arg("-device").arg(format!("loader,file={},addr={address:#x},force-raw=on", path.display()))
    }

    /// Starts the first CPU at `address`.
    #[must_use]
    pub fn start_at(self, address: u32) -> Self {
        self.arg("-device").arg(format!("loader,addr={address:#x},cpu-num=0"))
    }

    /// Ends the run at the first line that `last` accepts: for an image that has no way to leave.
    #[must_use]
    pub fn until(mut self, last: fn(&str) -> bool) -> Self {
        self.until = Some(last);
        self
    }

    /// Counts the run as hung after `seconds`.
    #[must_use]
    pub fn limit(mut self, seconds: u32) -> Self {
        self.limit = seconds;
        self
    }

    /// Makes the run.
    ///
    /// # Errors
    ///
    /// When QEMU cannot be started; whatever happens after that is an [`Outcome`].
    pub fn go(&self) -> Result<Outcome, String> {
        let mut child = Command::new("timeout")
            .args(["-k", "5", &self.limit.to_string(), "qemu-system-arm"])
            .args(&self.args)
            .env("QEMU_AUDIO_DRV", "none")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| format!("cannot start QEMU: {e}"))?;
        let mut errors = child.stderr.take().ok_or("no stderr")?;
        let drain = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = errors.read_to_end(&mut bytes); // what could be read is all there is to tell
            String::from_utf8_lossy(&bytes).into_owned()
        });
        let (lines, cut) = self.watch(&mut child)?;
        let status = child.wait().map_err(|e| format!("waiting for QEMU: {e}"))?;
        let end = match status.code() {
            _ if cut => End::Cut,
            Some(124 | 137) | None => End::Hung { seconds: self.limit },
            Some(code) => End::Status(code),
        };
        let errors = drain.join().unwrap_or_default();
        Ok(Outcome { lines, end, errors: errors.lines().filter(|l| !is_noise(l)).collect::<Vec<_>>().join("\n") })
    }

    /// Collects the console's lines until QEMU ends, or until a last line was seen: then true.
    fn watch(&self, child: &mut Child) -> Result<(Vec<String>, bool), String> {
        let mut console = BufReader::new(child.stdout.take().ok_or("no stdout")?);
        let mut lines = Vec::new();
        let mut bytes = Vec::new();
        while console.read_until(b'\n', &mut bytes).is_ok_and(|n| n > 0) {
            let line = String::from_utf8_lossy(&bytes);
            let line = unstamped(line.trim_end_matches(['\n', '\r'])).to_owned();
            bytes.clear();
            let last = self.until.is_some_and(|last| last(&line));
            lines.push(line);
            if last {
                terminate(child);
                return Ok((lines, true));
            }
        }
        Ok((lines, false))
    }
}

/// Ends `timeout`, which ends QEMU: a plain kill of `timeout` would leave QEMU alone.
fn terminate(child: &mut Child) {
    let _ = Command::new("kill").arg(child.id().to_string()).status(); // the limit ends it otherwise
}

/// What QEMU says about the host's sound.
fn is_noise(line: &str) -> bool {
    line.contains("audio") || line.contains("ALSA") || line.contains("alsa")
}

/// A path as an argument; QEMU's options cannot carry anything but text.
fn text(path: &Path) -> String {
    path.display().to_string()
}

/// `line` without the logger's `[    0.012345] `.
#[must_use]
pub fn unstamped(line: &str) -> &str {
    let Some((stamp, rest)) = line.strip_prefix('[').and_then(|l| l.split_once("] ")) else { return line };
    let stamp = stamp.trim_start();
    let digits = stamp.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if digits && stamp.contains('.') { rest } else { line }
}

/// How a run came to its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// QEMU ended by itself: the image left by semihosting (0 or 1), or QEMU refused to start (1).
    Status(i32),
    /// The line that was waited for came, and the run was cut off.
    Cut,
    /// Nothing of it within the limit.
    Hung {
        /// The limit.
        seconds: u32,
    },
}

/// What a run showed.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The console, line by line, without stamps.
    pub lines: Vec<String>,
    /// How it ended.
    pub end: End,
    /// QEMU's own complaints.
    pub errors: String,
}

/// One self-test as the image reported it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SelfTest {
    /// Its name.
    pub name: String,
    /// `ok` was the word.
    pub passed: bool,
}

impl Outcome {
    /// The self-tests, in the order in which they ran: `selftest NAME ... ok`, `selftest NAME ... FAILED`.
    #[must_use]
    pub fn selftests(&self) -> Vec<SelfTest> {
        let parse = |line: &String| {
            let (name, word) = line.strip_prefix("selftest ")?.split_once(" ... ")?;
            Some(SelfTest { name: name.to_owned(), passed: word.split_whitespace().next() == Some("ok") })
        };
        self.lines.iter().filter_map(parse).collect()
    }

    /// The counts of the closing line `N passed, N failed`.
    #[must_use]
    pub fn verdict(&self) -> Option<(u32, u32)> {
        self.lines.iter().rev().find_map(|line| verdict(line))
    }

    /// The first line that is a panic's.
    #[must_use]
    pub fn panicked(&self) -> Option<&str> {
        self.lines.iter().map(String::as_str).find(|l| l.starts_with("panic:"))
    }

    /// The first line that contains every one of `fragments`, in any case and order.
    #[must_use]
    pub fn line_with(&self, fragments: &[String]) -> Option<&str> {
        let has_all = |line: &str| {
            let line = line.to_lowercase();
            fragments.iter().all(|f| line.contains(&f.to_lowercase()))
        };
        self.lines.iter().map(String::as_str).find(|line| has_all(line))
    }

    /// Whether the image booted to the end and everything in it passed.
    ///
    /// # Errors
    ///
    /// The reason in the first line, then the end of the log.
    pub fn check_passed(&self) -> Result<(), String> {
        if let Some(line) = self.panicked() {
            return Err(self.explain(line));
        }
        match (self.verdict(), self.end) {
            (_, End::Hung { seconds }) => Err(self.explain(&format!("hung: no end after {seconds} s"))),
            (None, end) => Err(self.explain(&format!("no closing 'N passed, N failed' line; {end:?}"))),
            (Some((_, failed)), _) if failed > 0 => Err(self.explain(&format!("{failed} self-tests failed"))),
            (Some((0, _)), _) => Err(self.explain("no self-test ran")),
            (Some(_), End::Status(0) | End::Cut) => Ok(()),
            (Some(_), End::Status(code)) => Err(self.explain(&format!("all passed, but the status is {code}"))),
        }
    }

    /// `reason`, with the end of the log and QEMU's complaints.
    #[must_use]
    pub fn explain(&self, reason: &str) -> String {
        let from = self.lines.len().saturating_sub(25);
        let tail = self.lines.iter().skip(from).map(|l| format!("    | {l}\n")).collect::<String>();
        let errors = if self.errors.is_empty() { String::new() } else { format!("    QEMU: {}\n", self.errors) };
        format!("{reason}\n{tail}{errors}")
    }
}

/// The counts of a closing line `N passed, N failed`.
#[must_use]
pub fn verdict(line: &str) -> Option<(u32, u32)> {
    let (passed, failed) = line.split_once(" passed, ")?;
    Some((passed.parse().ok()?, failed.strip_suffix(" failed")?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(lines: &[&str], end: End) -> Outcome {
        Outcome { lines: lines.iter().map(|l| (*l).to_owned()).collect(), end, errors: String::new() }
    }

    #[test]
    fn only_a_stamp_is_taken_off_a_line() {
        assert_eq!(unstamped("[    0.012345]   HighMem  empty"), "  HighMem  empty");
        assert_eq!(unstamped("[12.5] [0] 1"), "[0] 1");
        assert_eq!(unstamped("[mem 0x0] rest"), "[mem 0x0] rest");
    }

    #[test]
    fn self_tests_are_read_with_their_names_and_words() {
        let tests = outcome(&["selftest a b ... ok", "selftest c ... FAILED (x)", "noise"], End::Status(1)).selftests();
        assert_eq!(tests.len(), 2);
        assert_eq!((tests[0].name.as_str(), tests[0].passed), ("a b", true));
        assert_eq!((tests[1].name.as_str(), tests[1].passed), ("c", false));
    }

    #[test]
    fn a_run_passes_only_with_a_verdict_a_status_and_no_panic() {
        let good = ["selftest a ... ok", "1 passed, 0 failed"];
        assert!(outcome(&good, End::Status(0)).check_passed().is_ok());
        assert!(outcome(&good, End::Cut).check_passed().is_ok());
        assert!(outcome(&good, End::Status(1)).check_passed().is_err());
        assert!(outcome(&good, End::Hung { seconds: 1 }).check_passed().is_err());
        assert!(outcome(&["1 passed, 1 failed"], End::Status(0)).check_passed().is_err());
        assert!(outcome(&["0 passed, 0 failed"], End::Status(0)).check_passed().is_err());
        assert!(outcome(&[], End::Status(0)).check_passed().is_err());
        assert!(outcome(&["panic: x", "1 passed, 0 failed"], End::Status(0)).check_passed().is_err());
    }
}
