//! A compiler for wasm32, by the first way that works: what is installed, what rustup installs, what Debian's packages give.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;
use std::{env, thread};

use super::{Failure, TARGET, debian, note};

/// Names the one way to take: `installed`, `rustup` or `debian`. Unset, all are tried in this order.
const WAY: &str = "TIDEGATE_WASM_TOOLCHAIN";

/// A compiler for wasm32.
#[derive(Debug)]
pub(super) struct Compiler {
    /// For a person.
    pub(super) description: String,
    /// Where it is; none where it is the one that cargo takes by itself.
    pub(super) rustc: Option<PathBuf>,
}

/// A compiler for wasm32, and the linker that makes components.
#[derive(Debug)]
pub(super) struct Toolchain {
    /// The compiler.
    pub(super) compiler: Compiler,
    /// What has to be on PATH: `wasm-component-ld`, and `wasm-ld` for it.
    tools: Vec<PathBuf>,
}

/// One way to come by a compiler.
type Way = fn() -> Result<Compiler, Failure>;

impl Toolchain {
    /// Makes cargo use it.
    pub(super) fn apply(&self, cargo: &mut Command) -> Result<(), Failure> {
        let path = env::var_os("PATH").unwrap_or_default();
        let path = env::join_paths(self.tools.iter().cloned().chain(env::split_paths(&path)))
            .map_err(|error| Failure::new(format!("the toolchain's folders cannot stand on PATH: {error}")))?;
        cargo.env("PATH", path);
        if let Some(rustc) = &self.compiler.rustc {
            cargo.env("RUSTC", rustc);
        }
        Ok(())
    }
}

/// The first way that works.
pub(super) fn find() -> Result<Toolchain, Failure> {
    let tools = tools()?;
    let ways: [(&str, Way); 3] = [("installed", installed), ("rustup", by_rustup), ("debian", debian::toolchain)];
    let wanted = env::var(WAY).ok().filter(|way| !way.is_empty());
    let mut reasons = String::new();
    for (name, way) in ways {
        if wanted.as_ref().is_some_and(|wanted| wanted != name) {
            continue;
        }
        match way() {
            Ok(compiler) => return Ok(Toolchain { compiler, tools }),
            Err(failure) => reasons.push_str(&format!("\n- {name}: {failure}")),
        }
    }
    if reasons.is_empty() {
        reasons = format!("\n- {WAY} names no way; expected `installed`, `rustup` or `debian`");
    }
    Err(Failure::new(format!("nothing here can compile for {TARGET}:{reasons}")))
}

/// The folders with `wasm-component-ld` and `wasm-ld`, which every toolchain of rustup carries.
fn tools() -> Result<Vec<PathBuf>, Failure> {
    let bin = sysroot()?.join("lib/rustlib").join(host()?).join("bin");
    let folders = vec![bin.join("gcc-ld"), bin];
    for (folder, tool) in folders.iter().zip(["wasm-ld", "wasm-component-ld"]) {
        if !folder.join(tool).with_extension(env::consts::EXE_EXTENSION).is_file() {
            let place = folder.display();
            return Err(Failure::new(format!(
                "{tool} is not in {place}: it ships with toolchains that rustup installs, and plugins are linked by it"
            )));
        }
    }
    Ok(folders)
}

/// The compiler that cargo would take, if its sysroot has the target's standard library.
fn installed() -> Result<Compiler, Failure> {
    let library = sysroot()?.join("lib/rustlib").join(TARGET).join("lib");
    if has_std(&library) {
        Ok(Compiler { description: "the target is installed".to_owned(), rustc: None })
    } else {
        Err(Failure::new(format!("no standard library in {}", library.display())))
    }
}

/// The same, after rustup was asked for the target.
fn by_rustup() -> Result<Compiler, Failure> {
    note(&format!("asking rustup for {TARGET}"));
    // One try and a deadline: where its server is out of reach, the next way is not to wait for it.
    let mut rustup = Command::new("rustup");
    rustup.args(["target", "add", TARGET]).env("RUSTUP_MAX_RETRIES", "1");
    run_within(rustup, Duration::from_secs(180))?;
    installed()
}

/// Whether a folder holds a compiled standard library.
pub(super) fn has_std(library: &Path) -> bool {
    let is_std = |name: &OsString| name.to_str().is_some_and(|name| name.starts_with("libstd-") && name.ends_with(".rlib"));
    library.read_dir().is_ok_and(|entries| entries.flatten().any(|entry| is_std(&entry.file_name())))
}

fn sysroot() -> Result<PathBuf, Failure> {
    print("sysroot").map(PathBuf::from)
}

/// The target that this machine itself is, e.g. `x86_64-unknown-linux-gnu`.
pub(super) fn host() -> Result<String, Failure> {
    print("host-tuple")
}

fn print(what: &str) -> Result<String, Failure> {
    let mut rustc = Command::new(env::var_os("RUSTC").unwrap_or_else(|| OsString::from("rustc")));
    rustc.args(["--print", what]);
    Ok(run(rustc)?.trim().to_owned())
}

/// Runs a command to its end and gives what it wrote.
pub(super) fn run(mut command: Command) -> Result<String, Failure> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| cannot_start(&command, &error))?;
    finished(&command, &output)
}

/// Runs a command and kills it when it takes longer.
fn run_within(mut command: Command, limit: Duration) -> Result<String, Failure> {
    const PAUSE: Duration = Duration::from_millis(100);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| cannot_start(&command, &error))?;
    let mut waited = Duration::ZERO;
    while ended(&mut child).is_none() {
        if waited >= limit {
            // Whatever goes wrong with the kill: the command is given up.
            child.kill().ok();
            return Err(Failure::new(format!("{} did not end within {} s", line_of(&command), limit.as_secs())));
        }
        thread::sleep(PAUSE);
        waited += PAUSE;
    }
    let output = child.wait_with_output().map_err(|error| cannot_start(&command, &error))?;
    finished(&command, &output)
}

fn ended(child: &mut Child) -> Option<ExitStatus> {
    child.try_wait().ok().flatten()
}

fn finished(command: &Command, output: &Output) -> Result<String, Failure> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    Err(Failure::new(format!("`{}` failed ({}): {}", line_of(command), output.status, gist(&complaint))))
}

/// What a command complains of, in one line: its errors; its last lines where none is marked as one.
fn gist(complaint: &str) -> String {
    let lines: Vec<&str> = complaint.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let errors: Vec<&str> = lines.iter().copied().filter(|line| line.starts_with("error") || line.starts_with("E: ")).collect();
    let last = lines.get(lines.len().saturating_sub(3)..).unwrap_or_default();
    if errors.is_empty() { last.join(" / ") } else { errors.join(" / ") }
}

fn cannot_start(command: &Command, error: &std::io::Error) -> Failure {
    Failure::new(format!("cannot start `{}`: {error}", line_of(command)))
}

fn line_of(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::gist;

    #[test]
    fn what_a_command_complains_of_is_its_errors_else_its_last_lines() {
        assert_eq!(gist("info: trying\nerror: no server\n\nstack backtrace:\n 0: main"), "error: no server");
        assert_eq!(gist("E: Unable to locate package x\n"), "E: Unable to locate package x");
        assert_eq!(gist("one\ntwo\n\nthree\nfour\n"), "two / three / four");
        assert_eq!(gist(""), "");
    }
}
