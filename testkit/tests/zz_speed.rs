use std::io::Write;
use std::time::Instant;
use chrono::NaiveDate;
use serde_json::json;
use testkit::oracle::Oracle;
use testkit::{World, langfuse, seed};
#[tokio::test]
async fn speed() {
    let world = World::new().await;
    let pool = world.pool();
    langfuse::add_project(&pool, "p", "Project").await;
    langfuse::add_integration(&pool, "p", &world.posthog.url(), "phc_k", true).await;
    let days: Vec<_> = (1..=4).map(|d| NaiveDate::from_ymd_opt(2024, 6, d).unwrap()).collect();
    let t = Instant::now();
    seed::realistic(&pool, "p", &days, 5000, 1).await;
    eprintln!("seed 20k traces {:?}", t.elapsed());
    let t = Instant::now();
    seed::ties(&pool, "p", days[0], 10_000).await;
    eprintln!("ties 10k {:?}", t.elapsed());
    let oracle = Oracle::new(pool.clone(), Some("http://lf"));
    let t = Instant::now();
    let mut events = vec![];
    for d in &days { events.extend(oracle.expected("p", *d).await); }
    eprintln!("expected {} {:?}", events.len(), t.elapsed());
    let outside: (i64,) = sqlx::query_as("select count(*) from observations where start_time >= '2024-06-05' or start_time < '2024-06-01'").fetch_one(&pool).await.unwrap();
    eprintln!("outside {outside:?}");
    let bodies: Vec<Vec<u8>> = events.chunks(4000).map(|c| { let mut e = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast()); e.write_all(json!({"api_key":"phc_k","batch":c}).to_string().as_bytes()).unwrap(); e.finish().unwrap()}).collect();
    world.posthog.known_key("phc_k");
    let c = reqwest::Client::new();
    let t = Instant::now();
    for b in bodies { c.post(format!("{}/batch/", world.posthog.url())).header("content-type","application/json").body(b).send().await.unwrap(); }
    eprintln!("fake {:?}", t.elapsed());
    let t = Instant::now();
    let r = oracle.check(&world.posthog, "phc_k", "p", &days).await;
    eprintln!("{r} {:?}", t.elapsed());
    r.assert_delivered();
    if let Ok(s) = std::fs::read_to_string("/proc/self/status") { eprintln!("{}", s.lines().filter(|l| l.starts_with("VmHWM")).collect::<String>()); }
    if std::env::var("GEN").is_ok() {
        let out = std::process::Command::new("psql").args(["-v","big=2000","-v","small=200","-f","/work/shared/bench/generate.sql", &world.database_url]).output().unwrap();
        eprintln!("{}\n{}", String::from_utf8_lossy(&out.stdout).lines().rev().take(12).collect::<Vec<_>>().join("\n"), String::from_utf8_lossy(&out.stderr));
        let d = NaiveDate::from_ymd_opt(2025,1,14).unwrap();
        eprintln!("generated {}", oracle.expected("clbigproject0000000000001", d).await.len());
    }
}
