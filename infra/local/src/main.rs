//! `cargo run`: starts all of Herald on this machine and runs the demo.

mod arguments;
mod demo;
mod ready_made;
mod terminal;

use std::{collections::BTreeMap, future::Future, net::TcpListener, pin::pin, process::ExitCode};

use anyhow::Context;
use clap::Parser;
use herald_local::{
    Events, Host, Options,
    channel::{self, Channel},
    data::{self, DataDir},
    dynamodb::Contents,
    front,
    issuer::Issuer,
    template::Template,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::Instant,
};

use arguments::Arguments;
use demo::Obstacle;
use terminal::{Console, farewell, introduction, say};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("herald: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    // Before the build, which takes minutes the first time.
    let listener = front::listen(arguments.listen)?;
    let data = arguments.data.as_deref().map(DataDir::open).transpose()?;
    let variables = arguments.variables(&Template::of_repository()?, std::env::vars())?;
    let mut options = Options::built()?;
    options.data = data;
    options.parameters.extend(Arguments::bot());
    options.concurrency = arguments.concurrency.get();
    let runtime = tokio::runtime::Runtime::new().context("cannot start")?;
    runtime.block_on(until_asked_to_stop(listener, options, variables, &arguments))
}

async fn until_asked_to_stop(
    listener: TcpListener,
    mut options: Options,
    variables: BTreeMap<String, String>,
    arguments: &Arguments,
) -> anyhow::Result<()> {
    let mut asked_to_stop = pin!(asked_to_stop()?);
    // Before the functions, which fetch the issuer's keys at their start.
    let app_id = Arguments::bot().find(|(name, _)| name == "MicrosoftAppId");
    let issuer = match app_id {
        Some((_, app_id)) => {
            let issuer = Issuer::open(channel::CHANNEL_ID).await?;
            options.authenticate(&app_id, &issuer);
            Some((issuer, app_id))
        }
        None => None,
    };
    let address = listener.local_addr()?;
    options.environment.extend(variables);
    let bot = format!("http://{address}/api/messages");
    let channel = match &options.data {
        Some(data) => Channel::open_kept(data, address, &bot, issuer).await?,
        None => Channel::open(&bot, issuer).await?,
    };
    demo::invent_people(&channel);
    if options.real_credential().is_none() {
        if let Some(manifest) = options.environment.get("HERALD_TEAMS_APP_ID") {
            channel.offer_app(manifest);
        }
        options.install_through(&channel.graph_url(), channel.issuer());
    }
    let start = Instant::now();
    let events = Events::default();
    let console = Console::start(&events);
    let host = tokio::select! {
        host = Host::start_with_events(listener, &options, events) => host?,
        () = &mut asked_to_stop => return Ok(()),
    };
    if let Some(file) = &arguments.env_file {
        let variables = host.functions().environment().into_iter();
        let lines: Vec<String> = variables
            .map(|(name, value)| format!("{name}={value:?}\n"))
            .collect();
        let lines = lines.concat();
        data::write_private(file, &lines).with_context(|| format!("cannot write {}", file.display()))?;
    }
    say(&introduction(&host, &channel, &options, start.elapsed()));
    let ended = tokio::select! {
        ended = live(&host, &channel, &console, &options, arguments.once) => ended,
        () = &mut asked_to_stop => Ok(()),
    };
    drop(console);
    host.stop().await;
    ended
}

/// Runs the demo unless something stands against it; then, without `--once`, runs until it is interrupted.
async fn live(
    host: &Host,
    channel: &Channel,
    console: &Console,
    options: &Options,
    once: bool,
) -> anyhow::Result<()> {
    // Tables in use have the routes that their owner wants.
    if host.opened() != Contents::Some {
        ready_made::load(host).await?;
    }
    match Obstacle::found(options, host.opened()) {
        // On tables in use nothing is to be shown twice: that the host starts on them is all that `--once` asks.
        Some(obstacle @ Obstacle::RealCredential(_)) if once => anyhow::bail!("{obstacle}"),
        Some(obstacle) => say(&obstacle.to_string()),
        None => {
            let played = demo::play(host, channel).await;
            if once {
                return played;
            }
            // A bot under development may not pass the demo, for example without a welcome. The host stays usable.
            if let Err(error) = played {
                say(&format!("\nherald: {error:#}"));
            }
        }
    }
    if once {
        return Ok(());
    }
    say(&farewell(host));
    console.print_everything(channel).await;
    Ok(())
}

/// Returns on Ctrl-C, SIGTERM or the end of the terminal.
fn asked_to_stop() -> anyhow::Result<impl Future<Output = ()>> {
    let listen = |kind| signal(kind).context("cannot listen for signals");
    let (mut interrupt, mut terminate, mut hangup) = (
        listen(SignalKind::interrupt())?,
        listen(SignalKind::terminate())?,
        listen(SignalKind::hangup())?,
    );
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    })
}
