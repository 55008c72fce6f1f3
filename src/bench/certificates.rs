//! An authority and a server's certificate for throw-away servers, made by the `openssl` program.
//!
//! Certificates are made where they are needed by the program that every machine with TLS has, rather
//! than by a library that every keyferry would carry. Without it TLS is not measured, and that is said.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The program.
const OPENSSL: &str = "openssl";
/// No benchmark takes longer.
const DAYS: &str = "7";
/// Our own configuration: what a system's adds to certificates is not known.
const CONFIGURATION: &str = "\
[req]
distinguished_name = name
prompt = no
[name]
CN = keyferry bench
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = IP:127.0.0.1, DNS:localhost
";

/// Files that are gone with this.
pub(super) struct Certificates {
    directory: PathBuf,
}

impl Drop for Certificates {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

impl Certificates {
    /// Makes an authority, and a certificate of it for this machine's loopback.
    ///
    /// # Errors
    /// Why TLS cannot be measured.
    pub(super) fn make() -> Result<Self, String> {
        let name = format!("keyferry-bench-tls-{}", std::process::id());
        let made = Self { directory: std::env::temp_dir().join(name) };
        let failed = |error: std::io::Error| format!("no place for certificates: {error}");
        std::fs::create_dir(&made.directory).map_err(failed)?;
        std::fs::write(made.file("openssl.cnf"), CONFIGURATION).map_err(failed)?;
        for step in [
            "ecparam -name prime256v1 -genkey -noout -out authority.key",
            "ecparam -name prime256v1 -genkey -noout -out server.key",
            "req -config openssl.cnf -extensions authority -x509 -new -sha256 -key authority.key \
             -out authority.crt -days",
            "req -config openssl.cnf -new -sha256 -key server.key -out server.csr",
            "x509 -req -sha256 -in server.csr -CA authority.crt -CAkey authority.key -set_serial 1 \
             -extfile openssl.cnf -extensions server -out server.crt -days",
        ] {
            made.openssl(step)?;
        }
        Ok(made)
    }

    fn openssl(&self, step: &str) -> Result<(), String> {
        let mut command = Command::new(OPENSSL);
        command.args(step.split_whitespace());
        if step.ends_with("-days") {
            command.arg(DAYS);
        }
        command.current_dir(&self.directory).stdin(Stdio::null());
        let ended = command
            .output()
            .map_err(|error| format!("certificates need the {OPENSSL} program: {error}"))?;
        if ended.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&ended.stderr);
        let line = said.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        let what = step.split(' ').next().unwrap_or_default();
        Err(format!("{OPENSSL} {what} failed, {}: {line}", ended.status))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Whom to trust.
    pub(super) fn authority(&self) -> PathBuf {
        self.file("authority.crt")
    }

    /// What a server has to be told beside its TLS port; clients need no certificate of their own.
    pub(super) fn server_options(&self) -> [OsString; 8] {
        [
            "--tls-cert-file".into(),
            self.file("server.crt").into(),
            "--tls-key-file".into(),
            self.file("server.key").into(),
            "--tls-ca-cert-file".into(),
            self.authority().into(),
            "--tls-auth-clients".into(),
            "no".into(),
        ]
    }
}
