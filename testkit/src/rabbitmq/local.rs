//! How a broker of ours is started: its files, ports and environment.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use crate::directory::{Directory, random_hex};
use crate::docker;
use crate::process::Process;
use crate::server::{Server, free_port};

/// What only a server has that runs as a process of ours.
#[derive(Debug, Clone)]
pub(super) struct Local {
    directory: Arc<Directory>,
    programs: PathBuf,
    name: String,
    home: PathBuf,
    environment: Vec<(&'static str, String)>,
}

/// The ports of one server.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ports {
    pub(super) amqp: u16,
    pub(super) management: u16,
    pub(super) prometheus: u16,
    distribution: u16,
    epmd: u16,
}

impl Ports {
    pub(super) fn free(epmd: u16) -> Self {
        Self {
            amqp: free_port(),
            management: free_port(),
            prometheus: free_port(),
            distribution: free_port(),
            epmd,
        }
    }
}

/// The user that may do everything.
#[derive(Debug, Clone)]
pub(super) struct Account {
    pub(super) user: String,
    pub(super) password: String,
}

impl Account {
    pub(super) fn random() -> Self {
        Self {
            user: format!("user-{}", random_hex(4)),
            password: random_hex(16),
        }
    }
}

impl Local {
    pub(super) fn prepare(
        directory: &Arc<Directory>,
        programs: &Path,
        name: &str,
        ports: Ports,
        Account { user, password }: &Account,
        configuration: &str,
    ) -> Self {
        // Paths of sockets must be short, and the names of a node's files hold the node's name
        // already.
        let home = directory.path().join(format!("rabbitmq-{name}"));
        fs::create_dir(&home).expect("create the broker's directory");
        let file = |name: &str, text: &str| fs::write(home.join(name), text).expect("write the broker's configuration");
        file("environment", "");
        file("plugins", "[rabbitmq_management,rabbitmq_prometheus].\n");
        // Statistics every second instead of every five: tests look at them.
        file(
            "rabbitmq.conf",
            &format!(
                "listeners.tcp.local = 127.0.0.1:{}\n\
                 management.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {}\n\
                 prometheus.tcp.ip = 127.0.0.1\nprometheus.tcp.port = {}\n\
                 default_user = {user}\ndefault_pass = {password}\n\
                 disk_free_limit.absolute = 50MB\n\
                 collect_statistics_interval = 1000\n\
                 {configuration}\n",
                ports.amqp, ports.management, ports.prometheus
            ),
        );
        let at = |name: &str| home.join(name).display().to_string();
        let environment = vec![
            ("HOME", home.display().to_string()),
            ("RABBITMQ_NODENAME", format!("{name}@localhost")),
            ("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1".to_owned()),
            ("RABBITMQ_NODE_PORT", ports.amqp.to_string()),
            ("RABBITMQ_DIST_PORT", ports.distribution.to_string()),
            ("ERL_EPMD_PORT", ports.epmd.to_string()),
            ("ERL_EPMD_ADDRESS", "127.0.0.1".to_owned()),
            ("RABBITMQ_MNESIA_BASE", at("data")),
            ("RABBITMQ_LOG_BASE", at("log")),
            ("RABBITMQ_CONFIG_FILE", at("rabbitmq.conf")),
            ("RABBITMQ_CONF_ENV_FILE", at("environment")),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", at("plugins")),
            ("RABBITMQ_GENERATED_CONFIG_DIR", at("generated")),
            ("RABBITMQ_PID_FILE", at("pid")),
            (
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                "+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {127,0,0,1} \
                 -rabbit quorum_tick_interval 1000 -rabbit channel_tick_interval 500"
                    .to_owned(),
            ),
        ];
        Self {
            directory: directory.clone(),
            programs: programs.to_owned(),
            name: name.to_owned(),
            home,
            environment,
        }
    }

    /// The node's name in its cluster.
    pub(super) fn node(&self) -> String {
        format!("{}@localhost", self.name)
    }

    /// What the broker wrote about its process id, while it runs.
    pub(super) fn pid_file(&self) -> Option<String> {
        fs::read_to_string(self.home.join("pid")).ok()
    }

    pub(super) fn command(&self, program: &str) -> Command {
        let mut command = self.directory.command(self.programs.join(program));
        command
            .current_dir(&self.home)
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Gives the node the secret by which the nodes of a cluster trust each other.
    pub(super) fn share_cookie(&self, cookie: &str) {
        use std::os::unix::fs::PermissionsExt;
        let file = self.home.join(".erlang.cookie");
        fs::write(&file, cookie).expect("write the cookie");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o400)).expect("set the cookie's permissions");
    }

    pub(super) fn launch(&self) -> Server {
        let local = self.clone();
        let name = format!("rabbitmq-{}", self.name);
        Server::local(move || Process::spawn(&local.directory, &name, local.command("rabbitmq-server")))
    }
}

/// A broker in a container.
pub(super) fn container(directory: &Directory, ports: Ports, Account { user, password }: &Account) -> Server {
    let published = [(ports.amqp, 5672), (ports.management, 15672), (ports.prometheus, 15692)];
    let settings = [
        format!("RABBITMQ_DEFAULT_USER={user}"),
        format!("RABBITMQ_DEFAULT_PASS={password}"),
    ];
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    Server::Container(docker::run(
        directory,
        "rabbitmq:4-management",
        &published,
        &settings,
        &[],
    ))
}
