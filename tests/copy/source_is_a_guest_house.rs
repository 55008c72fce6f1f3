//! The source is only read, by connections that say who they are.

use redis::cmd;

use crate::support::client::fill_strings;
use crate::support::dataset::fill_database;
use crate::support::fault_proxy::{Behaviour, FaultProxy};
use crate::support::keyferry::Keyferry;
use crate::support::server::{Kind, Server};
use crate::support::wait_until;

#[test]
fn no_write_command_reaches_the_source() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    fill_database(&source, 0);
    source.reset_commands();
    Keyferry::copy(source.url(), target.url()).expect(0);
    assert_eq!(source.write_commands(), Vec::<String>::new());
    let commands = source.commands();
    for heavy in ["keys", "config|set", "save", "bgsave", "debug"] {
        assert!(!commands.contains(&heavy.to_owned()), "{heavy} was used: {commands:?}");
    }
}

#[test]
fn connections_carry_the_name_keyferry() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    fill_strings(&mut source.client(0), "key", 10_000, 1_000);
    let proxy = FaultProxy::start(
        source.port,
        Behaviour { rate: Some(10_000_000), ..Behaviour::default() },
    );
    let running = Keyferry::copy(proxy.url(), target.url()).start();
    for server in [&source, &target] {
        let mut client = server.client(0);
        wait_until("a connection is named keyferry", || {
            let list: String = client.call(cmd("CLIENT").arg("LIST"));
            list.contains("name=keyferry")
        });
    }
    running.finish().assert_code(&[0]);
}

#[test]
fn idle_times_on_the_source_stay() {
    // From 7.2 on a client can ask not to touch what it reads.
    let (source, target) = (Server::start(Kind::Valkey81), Server::start(Kind::Valkey81));
    let mut client = source.client(0);
    let mut restore = cmd("RESTORE");
    client.set(b"a", b"value");
    let payload: Vec<u8> = client.call(cmd("DUMP").arg("a"));
    client.run(restore.arg("old").arg(0).arg(payload).arg("IDLETIME").arg(5_000));
    Keyferry::copy(source.url(), target.url()).expect(0);
    let idle: i64 = client.call(cmd("OBJECT").arg("IDLETIME").arg("old"));
    assert!(idle >= 5_000, "copying made the key look used: idle for {idle} s");
}
