//! A private RabbitMQ with its management and Prometheus plugins.

mod local;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Method, Url};

use crate::directory::{Directory, random_hex};
use crate::install::Found;
use crate::management::Management;
use crate::server::{Server, address_of, free_port};
use crate::wait;

use local::{Account, Local, Ports, container};

/// A RabbitMQ server, by default a private one. Its URLs stay the same over restarts.
#[derive(Debug, Clone)]
pub struct RabbitMq {
    server: Arc<Server>,
    amqp_url: Url,
    management_url: Url,
    prometheus_port: Option<u16>,
    local: Option<Local>,
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
        self.local.as_ref().map(Local::node)
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
        let pid = self.local.as_ref().and_then(Local::pid_file);
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
