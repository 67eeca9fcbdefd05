//! Exit code 2: the call is wrong, and the help text says what would be right.

use crate::host::Host;

#[test]
fn a_wrong_call_ends_with_2() {
    let host = Host::new();
    let wrong: [&[&str]; 6] = [
        &[],
        &["upp", "-f", "h1.toml"],
        &["up"],
        &["check"],
        &["status", "--loud"],
        &["status", "--format", "xml"],
    ];
    for arguments in wrong {
        let ended = host.run(arguments);
        assert_eq!(ended.code, Some(2), "{arguments:?}: {ended:?}");
        assert_eq!(ended.stdout, "", "{arguments:?}");
        assert!(ended.stderr.contains("--help"), "{ended:?}");
    }
}

#[test]
fn help_names_every_command_and_each_exit_code() {
    let help = Host::new().run(&["--help"]).expect(0, &[]).stdout;
    for part in [
        "up",
        "check",
        "status",
        "--format",
        "0 done",
        "3 the server",
    ] {
        assert!(help.contains(part), "no {part:?} in {help}");
    }
}

#[test]
fn a_state_directory_that_can_not_hold_a_socket_is_a_wrong_call() {
    let host = Host::new();
    let long = format!("/tmp/{}", "a".repeat(100));
    for command in [&["status"][..], &["up", "-f", "h1.toml"]] {
        let mut arguments = command.to_vec();
        arguments.extend(["--state", &long]);
        host.run(&arguments).expect(2, &["bytes", "--state"]);
    }
}

#[test]
fn without_any_home_the_state_directory_must_be_named() {
    if rustix::process::geteuid().is_root() {
        // Root's default needs no home; it must not be touched by a test that only asks.
        let ended = Host::new()
            .command(&["status"])
            .env_remove("MERIDIAN_STATE")
            .env("HOME", "/nowhere")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        let running = ended.status.code() == Some(0);
        assert!(running || said.contains("/var/lib/meridian"), "{said}");
        return;
    }
    let ended = Host::new()
        .command(&["status"])
        .env_remove("MERIDIAN_STATE")
        .env_remove("XDG_STATE_HOME")
        .env_remove("HOME")
        .output()
        .unwrap();
    crate::host::Ended::from(ended).expect(2, &["MERIDIAN_STATE"]);
}
