//! The routes of `infra/routes`, which a new host has.

use std::{fs, path::Path};

use anyhow::{Context, ensure};
use herald_local::{Host, client::Client};
use serde_json::Value;

/// The tag that has the person on call, in the ready-made routes.
pub(crate) const ON_CALL: &str = "on-call";

/// Writes the routes of the repository to this host. Each takes nothing until people have its tag.
///
/// # Errors
/// When a file cannot be read, or a route is refused.
pub(crate) async fn load(host: &Host) -> anyhow::Result<()> {
    let client = Client::default();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../routes");
    let files = fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for file in files {
        let path = file?.path();
        let Some(name) = path.file_stem().and_then(|name| name.to_str()) else {
            continue;
        };
        let route: Value = serde_json::from_str(&fs::read_to_string(&path)?)
            .with_context(|| format!("{} is not JSON", path.display()))?;
        let answer = client
            .put(&format!("{}/api/routes/{name}", host.url()), &route)
            .await?;
        let said = String::from_utf8_lossy(&answer.body).into_owned();
        ensure!(answer.status.is_success(), "the route {name} is refused: {said}");
    }
    Ok(())
}
