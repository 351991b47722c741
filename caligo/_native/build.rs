//! Records what the crate is built with, for `build_info`.

use std::env;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let compiler = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(compiler)
        .arg("--version")
        .output()
        .ok()
        .and_then(|output| String::from_utf8(output.stdout).ok())
        .map_or_else(|| "unknown".to_owned(), |text| text.trim().to_owned());
    println!("cargo:rustc-env=CALIGO_RUSTC={version}");
    for (name, source) in [("CALIGO_TARGET", "TARGET"), ("CALIGO_PROFILE", "PROFILE"), ("CALIGO_OPT", "OPT_LEVEL")] {
        println!("cargo:rustc-env={name}={}", env::var(source).unwrap_or_else(|_| "unknown".to_owned()));
    }
}
