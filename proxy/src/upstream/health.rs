//! Whether endpoints are well: counted from answers in a row, and asked of them in the background where that is
//! configured. What ordinary calls come to is the circuit breaker's business.
//!
//! An endpoint that answers at all is well, unless it answers 500 or above: 401 says that the server lives, and that is
//! what is asked.

use std::num::NonZeroU32;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use http::{HeaderMap, Method};
use pingora::connectors::http::Connector;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::auth::Outgoing;
use super::peer::Waits;
use super::provider::{Endpoint, Provider};
use super::resolve::Resolver;
use super::settings::HealthRules;
use super::{failure, request};

/// An endpoint that has not answered such a question by then is not well.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Tells connections for questions from those for calls.
const ASKING_GROUP: u64 = 1 << 63;

/// Answers in a row.
#[derive(Debug, Default)]
pub(super) struct Health {
    is_ill: bool,
    /// In a row, against the present state.
    against: u32,
}

impl Health {
    pub(super) fn is_healthy(&self) -> bool {
        !self.is_ill
    }

    /// Takes an answer into account; whether it changed the state.
    fn answered(&mut self, is_good: bool, rules: &HealthRules) -> bool {
        if is_good != self.is_ill {
            self.against = 0;
            return false;
        }
        self.against = self.against.saturating_add(1);
        let enough: NonZeroU32 = if self.is_ill { rules.healthy_after } else { rules.unhealthy_after };
        let has_turned = self.against >= enough.get();
        if has_turned {
            *self = Self { is_ill: !self.is_ill, against: 0 };
        }
        has_turned
    }
}

/// Asks the endpoints of those providers that want it, until it is dropped.
pub(super) async fn watch(providers: Vec<Arc<Provider>>, connector: Arc<Connector>, waits: Waits) {
    let resolver = Arc::new(Resolver::default());
    let mut asking = tokio::task::JoinSet::new();
    for provider in providers {
        let Some(rules) = provider.health.clone() else { continue };
        for endpoint in provider.endpoints() {
            let (provider, endpoint, rules) = (Arc::clone(&provider), Arc::clone(endpoint), rules.clone());
            let (connector, resolver) = (Arc::clone(&connector), Arc::clone(&resolver));
            asking.spawn(async move {
                let mut ticks = interval(rules.interval);
                ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
                loop {
                    ticks.tick().await;
                    let answer = timeout(ANSWER_MAX, ask(&provider, &endpoint, &rules, (&connector, &resolver), waits));
                    let answer = answer.await.unwrap_or_else(|_| Err("no answer in time".into()));
                    note(&endpoint, answer, &rules);
                }
            });
        }
    }
    while asking.join_next().await.is_some() {}
}

fn note(endpoint: &Endpoint, answer: Result<(), String>, rules: &HealthRules) {
    let mut health = endpoint.health.lock().unwrap_or_else(PoisonError::into_inner);
    if health.answered(answer.is_ok(), rules) {
        match answer {
            Ok(()) => tracing::info!("upstream {} is well again", endpoint.label),
            Err(detail) => tracing::warn!("upstream {} is not well and not called: {detail}", endpoint.label),
        }
    }
}

async fn ask(
    provider: &Provider,
    endpoint: &Endpoint,
    rules: &HealthRules,
    (connector, resolver): (&Connector, &Resolver),
    waits: Waits,
) -> Result<(), String> {
    let target = &endpoint.target;
    let (host, port) = endpoint.way.place(target);
    let addresses = resolver.addresses(host, port).await?;
    let address = addresses.preferred().ok_or("no usable address")?;
    let mut peer = endpoint.way.peer(target, address, waits).ok_or("no usable address")?;
    // On a connection of its own: one from the pool may have died since, and that says nothing.
    peer.options.set_http_version(1, 1);
    peer.group_key |= ASKING_GROUP;
    let (mut path, mut headers) = (rules.path.clone(), HeaderMap::new());
    let mut out =
        Outgoing { target, method: &Method::GET, path_and_query: &mut path, headers: &mut headers, body: Some(&[]) };
    provider.auth.put_own(&mut out).await.map_err(|error| error.to_string())?;
    let head = request::own_head(target, &Method::GET, &path, &headers);
    let broken = |error: Box<pingora::Error>| failure::detail(&error);
    let head = head.map_err(broken)?;
    let (mut session, _) = connector.get_http_session(&peer).await.map_err(|error| {
        addresses.leave(address);
        failure::detail(&error)
    })?;
    session.write_request_header(head).await.map_err(broken)?;
    session.finish_request_body().await.map_err(broken)?;
    session.read_response_header().await.map_err(broken)?;
    let status = session.response_header().map(|head| head.status.as_u16());
    session.shutdown().await;
    match status {
        Some(status) if status < 500 => Ok(()),
        Some(status) => Err(format!("it answered {status}")),
        None => Err("it gave no answer".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_turns_after_answers_in_a_row() {
        let rules = HealthRules {
            path: "/".into(),
            interval: Duration::from_secs(1),
            unhealthy_after: NonZeroU32::new(3).unwrap(),
            healthy_after: NonZeroU32::new(2).unwrap(),
        };
        let mut health = Health::default();
        let mut tell = |answers: &[bool]| {
            answers.iter().for_each(|is_good| {
                health.answered(*is_good, &rules);
            });
            health.is_healthy()
        };
        assert!(tell(&[false, false, true, false, false]));
        assert!(!tell(&[false]));
        assert!(!tell(&[true, false, true]));
        assert!(tell(&[true]));
    }
}
