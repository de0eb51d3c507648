//! The whole program as a process of its own.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Longest wait for a process to start or to end: long for a machine under load, short for a hang.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// A command line of the program, without anything from this process's environment that it reads.
pub fn command(binary: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(binary);
    command.args(arguments).stdin(Stdio::null());
    for (name, _) in std::env::vars() {
        if name.starts_with("CLYRA_") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a command that ends by itself.
pub fn run(binary: &str, arguments: &[&str]) -> Output {
    let child = command(binary, arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut child = Ending(child);
    let end = Instant::now() + WAIT_MAX;
    while child.0.try_wait().unwrap().is_none() {
        assert!(Instant::now() < end, "{arguments:?} does not end");
        std::thread::sleep(Duration::from_millis(5));
    }
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    child.0.stdout.take().unwrap().read_to_end(&mut stdout).unwrap();
    child.0.stderr.take().unwrap().read_to_end(&mut stderr).unwrap();
    Output { status: child.0.wait().unwrap(), stdout, stderr }
}

/// Is killed when a test fails.
#[derive(Debug)]
struct Ending(Child);

impl Drop for Ending {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A sidecar in a process of its own.
#[derive(Debug)]
pub struct Process {
    pub address: SocketAddr,
    pub admin: SocketAddr,
    /// What it had said when it listened.
    pub banner: Vec<String>,
    said: Receiver<String>,
    child: Ending,
}

impl Process {
    /// Starts a sidecar and waits until it listens.
    pub fn start(binary: &str, policy: &Path, data_dir: &Path, upstream: &str) -> Process {
        Self::start_with(binary, policy, data_dir, upstream, &[])
    }

    /// The same with more arguments.
    pub fn start_with(binary: &str, policy: &Path, data_dir: &Path, upstream: &str, more: &[&str]) -> Process {
        let (policy, data_dir) = (policy.to_str().unwrap(), data_dir.to_str().unwrap());
        let upstream = format!("simulator={upstream}");
        let child = command(
            binary,
            &["run", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--upstream", &upstream, "--policy", policy]
                .into_iter()
                .chain(["--data-dir", data_dir])
                .chain(more.iter().copied())
                .collect::<Vec<_>>(),
        )
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
        let mut child = Ending(child);
        let (say, said) = channel();
        let stderr = BufReader::new(child.0.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let _ = say.send(line);
            }
        });
        let mut banner: Vec<String> = Vec::new();
        let address = |banner: &[String], word: &str| -> Option<SocketAddr> {
            let line = banner.iter().find(|line| line.contains(word))?;
            let rest = line.split("http://").nth(1)?;
            rest.split([' ', '/']).next()?.parse().ok()
        };
        loop {
            let Ok(line) = said.recv_timeout(WAIT_MAX) else {
                panic!("the sidecar does not start:\n{}", banner.join("\n"))
            };
            banner.push(line);
            if let (Some(address), Some(admin)) = (address(&banner, "listens on"), address(&banner, "  admin")) {
                return Process { address, admin, banner, said, child };
            }
        }
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(mut self) {
        self.child.0.kill().unwrap();
        self.child.0.wait().unwrap();
    }

    /// SIGTERM, as a container runtime sends it.
    pub fn terminate(&self) {
        let pid = self.child.0.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    }

    /// Waits for its end; gives its status and what it said since it began to listen.
    pub fn ended(mut self) -> (ExitStatus, Vec<String>) {
        let end = Instant::now() + WAIT_MAX;
        let status = loop {
            if let Some(status) = self.child.0.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < end, "the sidecar does not end");
            std::thread::sleep(Duration::from_millis(5));
        };
        (status, self.said.iter().collect())
    }
}
