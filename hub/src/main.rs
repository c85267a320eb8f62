//! `lectern-hub`: broker, store and console of Lectern 讲台 on one machine.
//!
//! Floors, bottom to top: [`model`], [`store`] and [`config`], then the stages [`broker`], [`ingest`],
//! [`watch`], [`command`], [`hand`], [`receive`] and [`enrol`] behind the [`door`]s, the [`console`], and [`app`], which wires them. A stage never calls another. [`probe`] tries
//! a store out with what stands below it.

mod app;
mod broker;
mod cli;
mod command;
mod config;
mod console;
mod door;
mod enrol;
mod hand;
mod ingest;
#[cfg(test)]
mod mangled;
mod model;
mod notify;
mod probe;
mod receive;
mod store;
#[cfg(test)]
mod testkit;
mod watch;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let command = cli::Cli::parse();
    if let Err(fault) = lectern_base::log::start("lectern-hub") {
        eprintln!("lectern-hub: {fault}");
        return lectern_base::exit::Exit::BadSettings.into();
    }
    lectern_base::panics::watch();
    cli::run(command).into()
}
