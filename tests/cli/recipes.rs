//! Every command that README and docs/tasks.md show does what it says, as it stands there.

use std::fs;
use std::path::Path;

use redis::cmd;
use tempfile::TempDir;

use super::pages::page;
use crate::support::certificates::Authority;
use crate::support::client::fill_strings;
use crate::support::keyferry::{Keyferry, SECRET};
use crate::support::server::{Kind, Server, Setup};

/// Servers that stand for `old` and `new`, each by its name and its address.
struct Pair {
    servers: [Server; 2],
    names: [&'static str; 2],
    addresses: [String; 2],
    // Holds the files of certificates.
    _authority: Option<Authority>,
}

impl Pair {
    fn plain() -> Self {
        let servers = [Server::start(Kind::Redis70), Server::start(Kind::Redis70)];
        let addresses = [servers[0].url(), servers[1].url()];
        Self { servers, names: ["redis://old", "redis://new"], addresses, _authority: None }
    }

    /// With TLS and passwords, whose files are in `folder` by the names that the command gives them.
    fn secured(folder: &Path) -> Self {
        let authority = Authority::new("recipes");
        let setup = || Setup::new(Kind::Redis70).tls(&authority.local_server());
        let servers = [setup().start(), setup().password(SECRET).start()];
        let mut user = cmd("ACL");
        user.arg("SETUSER").arg("migrator").arg("on").arg(format!(">{SECRET}")).arg("~*");
        servers[0].client(0).run(user.arg("+@all"));
        for side in ["old", "new"] {
            let write =
                |end: &str, text: &str| fs::write(folder.join(format!("{side}{end}")), text);
            write(".pw", SECRET).expect("a file of a password");
            write("-ca.pem", &authority.pem()).expect("a file of an authority");
        }
        let hosts = [servers[0].tls_url(), servers[1].tls_url()];
        let addresses =
            hosts.map(|url| url.rsplit(['@', '/']).next().unwrap_or_default().to_owned());
        let names = ["old.example", "new.example"];
        Self { servers, names, addresses, _authority: Some(authority) }
    }
}

/// The commands of a page: in its blocks behind `$`, and in its tables.
fn commands(page: &str) -> Vec<String> {
    let joined = page.replace("\\\n", " ");
    let typed = joined.lines().filter_map(|line| line.strip_prefix("$ "));
    let tables = joined.lines().filter(|line| line.starts_with("| "));
    let in_tables = tables.flat_map(|line| line.split('`').skip(1).step_by(2));
    let ours = typed.chain(in_tables).filter(|text| text.starts_with("keyferry "));
    // What a page shows of a run has the addresses of that run.
    ours.filter(|text| !text.contains("127.0.0.1")).map(str::to_owned).collect()
}

/// What makes a command possible, or short, in a test.
fn more_for(command: &str) -> &'static [&'static str] {
    match command {
        _ if command.starts_with("keyferry cleanup") => &["--force"],
        _ if command.starts_with("keyferry bench") => {
            &["--keys", "500", "--rounds", "1", "--only", "copy", "--only", "guide"]
        }
        _ => &[],
    }
}

fn run(command: &str, folder: &Path) {
    let pair = match command.contains(".example") {
        true => Pair::secured(folder),
        false => Pair::plain(),
    };
    let [source, target] = &pair.servers;
    for db in [0, 1] {
        fill_strings(&mut source.client(db), "key", 40, 20);
        source.client(db).run(cmd("HSET").arg("session:1").arg("field").arg("value"));
    }
    if ["verify", "cleanup"].iter().any(|word| command.contains(word)) {
        Keyferry::copy(source.url(), target.url()).expect(0);
    }
    let command = command.replace(":6379", "");
    let words = command.split_whitespace().skip(1).map(|word| {
        let word = word.trim_matches('\'');
        let names = pair.names.iter().zip(&pair.addresses);
        names.fold(word.to_owned(), |word, (name, address)| word.replace(name, address))
    });
    let keyferry = Keyferry::new().in_folder(folder).args(words).args(more_for(&command));
    let run = keyferry.run();
    assert_eq!(run.code(), Some(0), "{command}{}", run.frame());
}

#[test]
fn every_command_that_is_shown_does_what_it_says() {
    for name in ["README.md", "docs/tasks.md"] {
        // Commands of a page use files that others before them made.
        let folder = TempDir::new().expect("a temporary directory");
        let shown = commands(&page(name));
        assert!(shown.len() >= 6, "{name}: {shown:?}");
        shown.iter().for_each(|command| run(command, folder.path()));
    }
}
