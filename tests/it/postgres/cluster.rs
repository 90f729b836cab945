//! A PostgreSQL server of a test's own: real, on a free port, in a folder that goes with it.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio_postgres::{Client, Config, NoTls, Row};

/// How long a server may take to start.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a server and ends it when its own input does: so it also ends when the test is killed.
const KEEPER: &str = r#""$@" </dev/null >&2 & echo $!; read _; kill -QUIT $! 2>/dev/null; wait $!"#;

/// A server, its data, and who it runs as.
pub(crate) struct Cluster {
    folder: TempDir,
    binaries: PathBuf,
    /// The server refuses to run as root.
    user: Option<(u32, u32)>,
    pub(crate) port: u16,
    options: Vec<String>,
    running: Option<(Child, String)>,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop("-CONT");
        self.stop("-QUIT");
    }
}

impl Cluster {
    /// Makes the data and starts the server.
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| Vec::new()).await
    }

    /// Starts with more settings, which may name files in the given folder.
    pub(crate) async fn start_with(options: impl FnOnce(&Self) -> Vec<String>) -> Self {
        let folder = tempfile::Builder::new().prefix("pg").tempdir().unwrap();
        let mut cluster = Self {
            binaries: binaries(),
            user: other_user(),
            port: free_port(),
            options: Vec::new(),
            running: None,
            folder,
        };
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(cluster.folder(), mode).unwrap();
        fs::create_dir(cluster.data()).unwrap();
        fs::create_dir(cluster.sockets()).unwrap();
        cluster.give(&cluster.data());
        cluster.give(&cluster.sockets());
        let made = cluster
            .command("initdb", &[])
            .args(["--no-sync", "--no-locale", "--encoding=UTF8"])
            .args(["--username=owner", "--auth=trust", "-D"])
            .arg(cluster.data())
            .output()
            .expect("initdb can be run");
        assert!(made.status.success(), "{made:?}");
        cluster.options = options(&cluster);
        cluster.run();
        cluster.ready().await;
        cluster
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder().join("data")
    }

    pub(crate) fn sockets(&self) -> PathBuf {
        self.folder().join("sockets")
    }

    /// Gives a file to the user that the server runs as.
    pub(crate) fn give(&self, path: &Path) {
        if let Some((user, group)) = self.user {
            chown(path, Some(user), Some(group)).unwrap();
        }
    }

    /// Starts the server, which is not running.
    pub(crate) fn run(&mut self) {
        let log = self.folder().join("log");
        let log = fs::OpenOptions::new().create(true).append(true).open(log);
        let sockets = self.sockets().display().to_string();
        let settings = [
            format!("port={}", self.port),
            "listen_addresses=127.0.0.1".to_owned(),
            format!("unix_socket_directories={sockets}"),
            "fsync=off".to_owned(),
            "max_connections=20".to_owned(),
            "shared_buffers=64MB".to_owned(),
            "dynamic_shared_memory_type=mmap".to_owned(),
        ];
        let mut command = self.command("/bin/sh", &["-c", KEEPER]);
        command
            .args([
                "keeper".as_ref(),
                self.binaries.join("postgres").as_os_str(),
            ])
            .arg("-D")
            .arg(self.data());
        for setting in settings.iter().chain(&self.options) {
            command.args(["-c", setting]);
        }
        let mut keeper = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log.unwrap())
            .spawn()
            .expect("a shell can be run");
        let mut pid = String::new();
        let output = keeper.stdout.take().unwrap();
        BufReader::new(output).read_line(&mut pid).unwrap();
        self.running = Some((keeper, pid.trim().to_owned()));
    }

    /// Kills the server without a word, as a failing machine does.
    pub(crate) fn kill(&mut self) {
        self.stop("-KILL");
    }

    fn stop(&mut self, signal: &str) {
        self.signal(signal);
        if signal != "-CONT"
            && let Some((mut keeper, _)) = self.running.take()
        {
            drop(keeper.stdin.take());
            keeper.wait().unwrap();
        }
    }

    /// Sends a signal to the server and to all of its processes.
    pub(crate) fn signal(&self, signal: &str) {
        let Some((_, pid)) = &self.running else {
            return;
        };
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let children = children.unwrap_or_default();
        let mut all: Vec<&str> = children.split_whitespace().collect();
        all.insert(0, pid);
        let sent = Command::new("kill").arg(signal).args(all).output();
        sent.expect("kill can be run");
    }

    /// Waits until the server answers; starts it anew as long as what it left behind holds it up.
    pub(crate) async fn ready(&mut self) {
        let tried = tokio::time::timeout(PATIENCE, async {
            loop {
                if self.config().connect(NoTls).await.is_ok() {
                    return;
                }
                if self.has_ended() {
                    self.kill();
                    self.run();
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        if tried.await.is_err() {
            let log = fs::read_to_string(self.folder().join("log"));
            panic!("PostgreSQL does not start: {}", log.unwrap_or_default());
        }
    }

    fn has_ended(&self) -> bool {
        let Some((_, pid)) = &self.running else {
            return true;
        };
        let state = fs::read_to_string(format!("/proc/{pid}/stat"));
        state.is_err() || state.is_ok_and(|state| state.contains(") Z "))
    }

    /// How its owner connects.
    pub(crate) fn config(&self) -> Config {
        let mut config = Config::new();
        config
            .host_path(self.sockets())
            .port(self.port)
            .user("owner")
            .dbname("postgres");
        config
    }

    pub(crate) async fn client(&self) -> Client {
        let (client, connection) = self.config().connect(NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    /// Runs statements as the owner.
    pub(crate) async fn execute(&self, sql: &str) {
        let client = self.client().await;
        client
            .batch_execute(sql)
            .await
            .unwrap_or_else(|error| panic!("{error:?}: {sql}"));
    }

    /// The rows of a query by the owner.
    pub(crate) async fn rows(&self, sql: &str) -> Vec<Row> {
        let client = self.client().await;
        let rows = client.query(sql, &[]).await;
        rows.unwrap_or_else(|error| panic!("{error:?}: {sql}"))
    }

    /// The only number that a query of the owner gives.
    pub(crate) async fn number(&self, sql: &str) -> i64 {
        self.rows(sql).await.first().unwrap().get(0)
    }

    /// A program, by its path or as one of the server's, with its first arguments.
    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        // An absolute path stays as it is.
        let mut command = Command::new(self.binaries.join(program));
        command.args(arguments).current_dir("/");
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        command
    }
}

/// Where `postgres` and `initdb` are: on PATH, or where Debian keeps them.
pub(crate) fn find_binaries() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    for versions in ["/usr/lib/postgresql", "/usr/local/lib/postgresql"] {
        let mut found: Vec<PathBuf> = fs::read_dir(versions)
            .into_iter()
            .flatten()
            .flatten()
            .map(|version| version.path().join("bin"))
            .collect();
        found.sort();
        folders.extend(found.into_iter().rev());
    }
    folders
        .into_iter()
        .find(|folder| folder.join("initdb").exists() && folder.join("postgres").exists())
}

fn binaries() -> PathBuf {
    find_binaries().expect(
        "PostgreSQL is installed: run `.ci/deps` as root, or install it (Debian: apt-get install \
         postgresql), or put the folder of `initdb` and `postgres` on PATH",
    )
}

/// Of root, a user without rights.
fn other_user() -> Option<(u32, u32)> {
    let own = fs::metadata("/proc/self").map(|own| std::os::unix::fs::MetadataExt::uid(&own));
    if own.unwrap_or(1) != 0 {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let user = |name: &str| {
        users.lines().find_map(|line| {
            let parts: Vec<&str> = line.split(':').collect();
            let [is, _, user, group, ..] = parts.as_slice() else {
                return None;
            };
            (*is == name).then_some((user.parse().ok()?, group.parse().ok()?))
        })
    };
    user("postgres")
        .or_else(|| user("nobody"))
        .or(Some((65_534, 65_534)))
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
