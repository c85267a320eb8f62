//! Man pages and shell completions of a program, from the same words as its `--help`. Packages are built with them.

use std::fs::File;
use std::path::Path;

use clap::Command;
use clap_complete::Shell;

/// Writes `man1/NAME.1`, a page `man1/NAME-VERB.1` for each verb, and completions for bash, zsh and fish, laid out as
/// below `/usr/share`.
///
/// # Errors
/// What the file system says.
pub fn write(folder: &Path, name: &'static str, mut program: Command) -> std::io::Result<()> {
    let man = folder.join("man/man1");
    std::fs::create_dir_all(&man)?;
    for (sub, file) in [
        ("bash-completion/completions", name.to_owned()),
        ("zsh/vendor-completions", format!("_{name}")),
        ("fish/vendor_completions.d", format!("{name}.fish")),
    ] {
        let shell = match sub.split('-').next() {
            Some("bash") => Shell::Bash,
            Some(sub) if sub.starts_with("zsh") => Shell::Zsh,
            _ => Shell::Fish,
        };
        let folder = folder.join(sub);
        std::fs::create_dir_all(&folder)?;
        clap_complete::generate(
            shell,
            &mut shown(name, &program),
            name,
            &mut File::create(folder.join(file))?,
        );
    }
    program.build();
    page(&man, name, &program)
}

/// Without what is not for people. The completions ignore that it is hidden.
fn shown(name: &'static str, program: &Command) -> Command {
    let mut out = Command::new(name);
    for arg in program.get_arguments() {
        out = out.arg(arg.clone());
    }
    for verb in program.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        out = out.subcommand(verb.clone());
    }
    out
}

fn page(man: &Path, name: &str, program: &Command) -> std::io::Result<()> {
    let title = name.to_uppercase();
    let page = clap_mangen::Man::new(program.clone().display_name(name.to_owned())).title(title).section("1");
    page.render(&mut File::create(man.join(format!("{name}.1")))?)?;
    for verb in program.get_subcommands().filter(|verb| !verb.is_hide_set() && verb.get_name() != "help") {
        self::page(man, &format!("{name}-{}", verb.get_name()), verb)?;
    }
    Ok(())
}
