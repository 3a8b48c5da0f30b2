//! A private RabbitMQ with its management and Prometheus plugins.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Method, Url};

use crate::directory::{Directory, random_hex};
use crate::install::Found;
use crate::management::Management;
use crate::process::Process;
use crate::server::{Server, address_of, free_port};
use crate::{docker, wait};

/// A RabbitMQ server, by default a private one. Its URLs stay the same over restarts.
#[derive(Debug, Clone)]
pub struct RabbitMq {
    server: Arc<Server>,
    amqp_url: Url,
    management_url: Url,
    prometheus_port: Option<u16>,
    local: Option<Local>,
}

/// What only a server has that runs as a process of ours.
#[derive(Debug, Clone)]
struct Local {
    directory: Arc<Directory>,
    programs: PathBuf,
    name: String,
    home: PathBuf,
    environment: Vec<(&'static str, String)>,
}

/// The ports of one server.
#[derive(Debug, Clone, Copy)]
struct Ports {
    amqp: u16,
    management: u16,
    prometheus: u16,
    distribution: u16,
    epmd: u16,
}

impl Ports {
    fn free(epmd: u16) -> Self {
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
struct Account {
    user: String,
    password: String,
}

impl Account {
    fn random() -> Self {
        Self {
            user: format!("user-{}", random_hex(4)),
            password: random_hex(16),
        }
    }
}

impl RabbitMq {
    /// Uses somebody else's broker, in which virtual hosts may be made. Without a management URL it
    /// is taken to be at the usual port of the same host.
    pub fn existing(amqp_url: &str, management_url: Option<&str>) -> Self {
        let amqp_url: Url = amqp_url.parse().expect("TEST_AMQP_URL is a URL");
        let usual = || {
            let (user, password) = (amqp_url.username(), amqp_url.password().unwrap_or("guest"));
            let user = if user.is_empty() { "guest" } else { user };
            format!(
                "http://{user}:{password}@{}:15672",
                amqp_url.host_str().unwrap_or("127.0.0.1")
            )
        };
        let management_url = management_url.map_or_else(usual, str::to_owned);
        let management_url = management_url.parse().expect("TEST_MANAGEMENT_URL is a URL");
        Self {
            server: Arc::new(Server::Existing),
            amqp_url,
            management_url,
            prometheus_port: None,
            local: None,
        }
    }

    /// Starts a private broker and waits until it answers. `configuration` is added to its
    /// `rabbitmq.conf`.
    pub async fn start(directory: &Arc<Directory>, found: &Found, configuration: &str) -> Self {
        let (ports, account) = (Ports::free(free_port()), Account::random());
        let rabbitmq = match found {
            Found::Installed(programs) => {
                let local = Local::prepare(directory, programs, "testkit", ports, &account, configuration);
                Self::of(local.launch(), ports, &account, Some(local))
            }
            Found::Docker => Self::of(container(directory, ports, &account), ports, &account, None),
        };
        rabbitmq.wait_ready().await;
        rabbitmq
    }

    /// Starts so many private brokers that form one cluster, and waits until they do.
    ///
    /// # Panics
    /// When RabbitMQ is not installed here: containers would need a network of their own.
    pub async fn start_cluster(directory: &Arc<Directory>, found: &Found, nodes: usize) -> Vec<Self> {
        let Found::Installed(programs) = found else {
            panic!("a cluster needs RabbitMQ installed on this machine");
        };
        let (epmd, account) = (free_port(), Account::random());
        let names: Vec<String> = (1..=nodes).map(|number| format!("testkit{number}")).collect();
        let mut configuration = "cluster_formation.peer_discovery_backend = classic_config\n\
                                 cluster_formation.randomized_startup_delay_range.min = 0\n\
                                 cluster_formation.randomized_startup_delay_range.max = 2\n\
                                 net_ticktime = 8\n"
            .to_owned();
        for (number, name) in names.iter().enumerate() {
            configuration += &format!(
                "cluster_formation.classic_config.nodes.{} = {name}@localhost\n",
                number + 1
            );
        }
        let cookie = random_hex(20);
        let cluster: Vec<Self> = names
            .iter()
            .map(|name| {
                let ports = Ports::free(epmd);
                let local = Local::prepare(directory, programs, name, ports, &account, &configuration);
                local.share_cookie(&cookie);
                Self::of(local.launch(), ports, &account, Some(local))
            })
            .collect();
        for node in &cluster {
            node.wait_ready().await;
        }
        let management = cluster.first().expect("a cluster has nodes").management();
        let formed = wait::until(Duration::from_mins(2), async || {
            let answer = management.try_request(Method::GET, &["nodes"], None).await;
            answer.is_ok_and(|(_, answer)| {
                let running = |node: &&serde_json::Value| node["running"] == true;
                answer
                    .as_array()
                    .is_some_and(|all| all.iter().filter(running).count() == nodes)
            })
        });
        assert!(formed.await.is_some(), "the brokers form no cluster");
        cluster
    }

    fn of(server: Server, ports: Ports, Account { user, password }: &Account, local: Option<Local>) -> Self {
        let url = |scheme, port| {
            format!("{scheme}://{user}:{password}@127.0.0.1:{port}")
                .parse()
                .expect("a URL")
        };
        Self {
            server: Arc::new(server),
            amqp_url: url("amqp", ports.amqp),
            management_url: url("http", ports.management),
            prometheus_port: Some(ports.prometheus),
            local,
        }
    }

    /// The node's name in its cluster, when it was started here.
    pub fn node(&self) -> Option<String> {
        self.local.as_ref().map(|local| format!("{}@localhost", local.name))
    }

    async fn wait_ready(&self) {
        let management = self.management();
        let ready = wait::until(Duration::from_mins(2), async || {
            self.server.assert_running();
            tokio::net::TcpStream::connect(self.address()).await.is_ok()
                && management
                    .try_request(Method::GET, &["overview"], None)
                    .await
                    .is_ok_and(|(status, _)| status.is_success())
        });
        assert!(
            ready.await.is_some(),
            "RabbitMQ does not answer\n{}",
            self.server.tail()
        );
    }

    /// The AMQP URL of the virtual host of that name.
    pub fn amqp_url(&self, vhost: &str) -> String {
        let mut url = self.amqp_url.clone();
        url.set_path(&vhost.replace('/', "%2F"));
        url.into()
    }

    /// The management API's URL, with user and password and no slash at its end.
    pub fn management_url(&self) -> String {
        self.management_url.as_str().trim_end_matches('/').to_owned()
    }

    /// Where the broker's own metrics are, when it was started here.
    pub fn metrics_url(&self) -> Option<String> {
        self.prometheus_port
            .map(|port| format!("http://127.0.0.1:{port}/metrics"))
    }

    /// Where it listens for AMQP; what a proxy stands in front of.
    pub fn address(&self) -> SocketAddr {
        address_of(&self.amqp_url, 5672)
    }

    /// The user of [`amqp_url`](Self::amqp_url).
    pub fn user(&self) -> &str {
        if self.amqp_url.username().is_empty() {
            "guest"
        } else {
            self.amqp_url.username()
        }
    }

    /// A client of the management API. The caller's runtime owns it.
    pub fn management(&self) -> Management {
        Management::new(self.management_url.clone())
    }

    /// Runs `rabbitmqctl` against this broker and gives back what it printed. For private brokers
    /// only.
    pub fn ctl(&self, arguments: &[&str]) -> String {
        let local = self
            .local
            .as_ref()
            .expect("rabbitmqctl needs a broker that runs as a process of ours");
        let output = local
            .command("rabbitmqctl")
            .args(arguments)
            .output()
            .expect("start rabbitmqctl");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "rabbitmqctl {}: {said}", arguments.join(" "));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Whether it was started here and may be stopped and killed.
    pub fn is_ours(&self) -> bool {
        self.server.is_ours()
    }

    /// Its process id, while it runs as a process of ours.
    pub fn pid(&self) -> Option<u32> {
        self.server.pid()
    }

    /// Stops it in order.
    pub async fn stop(&self) {
        let pid = self
            .local
            .as_ref()
            .and_then(|local| fs::read_to_string(local.home.join("pid")).ok());
        self.server
            .stop(libc::SIGTERM, pid.and_then(|pid| pid.trim().parse().ok()))
            .await;
    }

    /// Starts it again, on the same ports and with the same data, and waits until it answers.
    pub async fn start_again(&self) {
        self.server.start();
        self.wait_ready().await;
    }

    /// Stops and starts it.
    pub async fn restart(&self) {
        self.stop().await;
        self.start_again().await;
    }

    /// Ends it with SIGKILL. A quorum queue's name reaches the disk only seconds after the queue
    /// was declared: killed before, the broker comes back with the queue and without its messages.
    /// [`keep_names`](Self::keep_names) is for tests that cannot wait so long.
    pub fn kill(&self) {
        self.server.kill();
    }

    /// Writes the names of all quorum queues to the disk, as the broker itself would have done some
    /// seconds later.
    pub async fn keep_names(&self) {
        let rabbitmq = self.clone();
        let written =
            tokio::task::spawn_blocking(move || rabbitmq.ctl(&["eval", "[ok = dets:sync(T) || T <- dets:all()]."]));
        written.await.expect("rabbitmqctl");
    }

    /// Pauses it: connections stay open and nothing answers.
    pub fn pause(&self) {
        self.server.pause();
    }

    /// Lets it go on after [`pause`](Self::pause).
    pub fn resume(&self) {
        self.server.resume();
    }

    /// The end of its log.
    pub fn log_tail(&self) -> String {
        self.server.tail()
    }
}

impl Local {
    fn prepare(
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

    fn command(&self, program: &str) -> Command {
        let mut command = self.directory.command(self.programs.join(program));
        command
            .current_dir(&self.home)
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Gives the node the secret by which the nodes of a cluster trust each other.
    fn share_cookie(&self, cookie: &str) {
        use std::os::unix::fs::PermissionsExt;
        let file = self.home.join(".erlang.cookie");
        fs::write(&file, cookie).expect("write the cookie");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o400)).expect("set the cookie's permissions");
    }

    fn launch(&self) -> Server {
        let local = self.clone();
        let name = format!("rabbitmq-{}", self.name);
        Server::local(move || Process::spawn(&local.directory, &name, local.command("rabbitmq-server")))
    }
}

fn container(directory: &Directory, ports: Ports, Account { user, password }: &Account) -> Server {
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
