//! `clyra-simulator`: the simulated provider as a process, until Ctrl-C.

use std::net::SocketAddr;
use std::process::ExitCode;

use clyra_simulator::{Options, Simulator};

const USAGE: &str = "\
Usage: clyra-simulator [--listen ADDRESS]

A simulated OpenAI, Anthropic, Gemini, Ollama, Bedrock and Cohere provider, for tests and for trying Clyra without a
key. No model answers.

Options:
  --listen ADDRESS  where to listen [default: 127.0.0.1:0, a free port]
  -h, --help        print this

It prints its URL on standard output once it listens, and stops with Ctrl-C.";

#[tokio::main]
async fn main() -> ExitCode {
    let mut options = Options { requests_recorded_max: 0, ..Options::default() };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match (argument.as_str(), arguments.next()) {
            ("-h" | "--help", _) => {
                println!("{USAGE}");
                return ExitCode::SUCCESS;
            }
            ("--listen", Some(address)) => match address.parse::<SocketAddr>() {
                Ok(address) => options.listen = address,
                Err(_) => return usage(&format!("--listen {address}: not an address such as 127.0.0.1:8081")),
            },
            ("--listen", None) => return usage("--listen needs an address such as 127.0.0.1:8081"),
            (other, _) => return usage(&format!("unknown argument {other}")),
        }
    }
    let listen = options.listen;
    let simulator = match Simulator::start(options).await {
        Ok(simulator) => simulator,
        Err(error) => {
            eprintln!("clyra-simulator: cannot listen on {listen}: {error}; choose another --listen address");
            return ExitCode::from(2);
        }
    };
    println!("{}", simulator.url());
    eprintln!("clyra-simulator: a simulated provider, no model answers; Ctrl-C stops it");
    if let Err(error) = tokio::signal::ctrl_c().await {
        eprintln!("clyra-simulator: cannot wait for Ctrl-C: {error}");
        return ExitCode::from(3);
    }
    simulator.stop().await;
    ExitCode::SUCCESS
}

fn usage(problem: &str) -> ExitCode {
    eprintln!("clyra-simulator: {problem}\n\n{USAGE}");
    ExitCode::from(2)
}
