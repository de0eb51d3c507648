//! Whether the provider is asked to count a stream's tokens for us.

use serde::Deserialize;

use super::Exchange;
use crate::exchange::ports::UpstreamTarget;
use crate::guard::{self, Inspected, NotAsked};
use crate::json::Value;
use crate::surface::RequestFacts;
use crate::upstream::Provider;
use clyra_policy::Mode;

/// `usage.inject` in clyra.yaml: which providers are asked. In mode `observe` none is, since nothing is touched there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AskForUsage {
    /// Those that are known to send nothing else for it: OpenAI and Azure OpenAI.
    #[default]
    Auto,
    /// All. One that refuses what it does not know will refuse the request.
    Always,
    Never,
}

impl AskForUsage {
    fn asks(self, target: &UpstreamTarget) -> bool {
        let host = target.host.to_ascii_lowercase();
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => host == "api.openai.com" || host.ends_with(".openai.azure.com"),
        }
    }
}

/// Surfaces whose streams are counted on demand.
const COUNTED: [&str; 2] = ["openai.chat", "openai.completions"];

impl Exchange<'_> {
    /// How this request does not ask for a count that it could ask for.
    pub(super) fn uncounted(&self, request: Value<'_>, facts: &RequestFacts) -> Option<NotAsked> {
        let countable = facts.stream && COUNTED.contains(&self.surface.id);
        countable.then(|| guard::not_asked(request)).flatten()
    }

    /// The request as this provider gets it.
    pub(super) fn counted(&mut self, provider: &Provider, body: Inspected) -> Inspected {
        let asks = self.gateway.policy.mode() == Mode::Enforce
            && provider.endpoints().iter().all(|endpoint| self.gateway.ask_for_usage.asks(&endpoint.target));
        let asked = self.uncounted.filter(|_| asks).and_then(|how| guard::ask_for_count(&body, how));
        self.hides_count = asked.is_some();
        asked.unwrap_or(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_those_that_are_known_to_do_it_right_are_asked_by_themselves() {
        for (url, auto) in [
            ("https://api.openai.com", true),
            ("https://API.OpenAI.com/v1", true),
            ("https://mine.openai.azure.com/openai", true),
            ("https://api.openai.com.evil.example", false),
            ("https://openai.azure.com", false),
            ("https://api.mistral.ai", false),
            ("http://127.0.0.1:8000", false),
        ] {
            let target = UpstreamTarget::parse("x", url).unwrap();
            assert_eq!(AskForUsage::Auto.asks(&target), auto, "{url}");
            assert!(AskForUsage::Always.asks(&target) && !AskForUsage::Never.asks(&target));
        }
    }
}
