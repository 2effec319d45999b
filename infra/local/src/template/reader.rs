//! Reads the properties of one resource.

use std::time::Duration;

use herald::{event_pattern::EventPattern, problem::Faults};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{
    BatchFailures, Error, EventRule, Function, Mapping, Queue, Redrive, Role, Route, RuleTarget,
    ScheduledRule, Subscription, Table, Topic, TopicDelivery, function_name,
    intrinsic::Resolver,
    resource::{
        self, FunctionProperties, IntegrationProperties, Known, MappingProperties, QueueProperties,
        ResponseType, RouteProperties, RuleProperties, RuleState, SubscriptionProperties, TableProperties,
    },
};

/// A resource of the template.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    /// The logical id.
    pub(super) id: &'a str,
    /// The properties, with unresolved intrinsic functions.
    pub(super) written: &'a Value,
    pub(super) resolver: &'a Resolver<'a>,
}

impl Reader<'_> {
    pub(super) fn function(self) -> Result<Function, Error> {
        let properties: FunctionProperties = self.properties(&resource::FUNCTION)?;
        Ok(Function {
            id: self.id.to_owned(),
            name: function_name(&properties.code_uri),
            timeout: Duration::from_secs(properties.timeout),
            memory_mb: properties.memory_size,
            environment: properties.environment.variables,
            grants: self.resolver.grants(self.id, self.written)?,
        })
    }

    pub(super) fn table(self) -> Result<Table, Error> {
        let properties: TableProperties = self.properties(&resource::TABLE)?;
        let mut create = self.used(&resource::TABLE)?;
        create.remove("TimeToLiveSpecification");
        create.insert("TableName".into(), Value::from(self.id));
        let time_to_live = properties
            .time_to_live_specification
            .filter(|specification| specification.enabled);
        Ok(Table {
            name: self.id.to_owned(),
            create: Value::Object(create),
            time_to_live: time_to_live.map(|specification| specification.attribute_name),
        })
    }

    pub(super) fn queue(self) -> Result<Queue, Error> {
        let properties: QueueProperties = self.properties(&resource::QUEUE)?;
        Ok(Queue {
            name: self.id.to_owned(),
            arn: self.resolver.location.arn("sqs", self.id),
            visibility: Duration::from_secs(properties.visibility_timeout.unwrap_or(30)),
            delay: Duration::from_secs(properties.delay_seconds),
            redrive: properties.redrive_policy.map(|policy| Redrive {
                target: last_of_arn(&policy.dead_letter_target_arn),
                max_receives: policy.max_receive_count,
            }),
        })
    }

    pub(super) fn mapping(self) -> Result<Mapping, Error> {
        let properties: MappingProperties = self.properties(&resource::MAPPING)?;
        Ok(Mapping {
            id: self.id.to_owned(),
            queue: last_of_arn(&properties.event_source_arn),
            function: properties.function_name,
            batch_size: properties.batch_size.unwrap_or(10),
            window: Duration::from_secs(properties.maximum_batching_window_in_seconds),
            failures: match properties.function_response_types.as_slice() {
                [] => BatchFailures::Whole,
                [ResponseType::ReportBatchItemFailures, ..] => BatchFailures::Reported,
            },
            max_concurrency: properties
                .scaling_config
                .map(|scaling| scaling.maximum_concurrency),
        })
    }

    pub(super) fn route(self) -> Result<Route, Error> {
        let properties: RouteProperties = self.properties(&resource::ROUTE)?;
        let integration = properties.target.rsplit('/').next().unwrap_or_default();
        let written = self
            .resolver
            .resources
            .get(integration)
            .and_then(|resource| resource.get("Properties"))
            .ok_or_else(|| Error::invalid(self.id, format!("there is no integration {integration}")))?;
        let integration: IntegrationProperties = Reader {
            id: integration,
            written,
            ..self
        }
        .properties(&resource::INTEGRATION)?;
        let form = (
            integration.integration_type.as_str(),
            integration.payload_format_version.as_str(),
        );
        if form != ("AWS_PROXY", "2.0") {
            return Err(Error::unsupported(
                self.id,
                format!("an integration of the form {form:?}"),
            ));
        }
        Ok(Route {
            key: properties.route_key,
            function: integration.integration_uri,
            timeout: Duration::from_millis(integration.timeout_in_millis.unwrap_or(30_000)),
        })
    }

    pub(super) fn rule(self) -> Result<Rule, Error> {
        let properties: RuleProperties = self.properties(&resource::RULE)?;
        if properties.state == RuleState::Disabled {
            return Err(Error::unsupported(self.id, "a rule that is disabled"));
        }
        let mut targets = Vec::new();
        for target in properties.targets {
            let template = match (target.input, target.input_transformer) {
                (Some(_), Some(_)) => {
                    return Err(Error::invalid(
                        self.id,
                        "a target with Input and InputTransformer",
                    ));
                }
                (input, transformer) => input.or(transformer.map(|transformer| transformer.input_template)),
            };
            targets.push(RuleTarget {
                queue: last_of_arn(&target.arn),
                template,
            });
        }
        let bus = properties.event_bus_name.as_deref().map(last_of_path);
        let resource = match &bus {
            Some(bus) => format!("rule/{bus}/{}", self.id),
            None => format!("rule/{}", self.id),
        };
        let arn = self.resolver.location.arn("events", &resource);
        match (properties.event_pattern, properties.schedule_expression) {
            (Some(pattern), None) => Ok(Rule::Of(EventRule {
                arn,
                bus: bus.unwrap_or_else(|| DEFAULT_BUS.to_owned()),
                pattern: event_pattern(self.id, &pattern)?,
                targets,
            })),
            (None, Some(expression)) if bus.is_none() => match rate(&expression) {
                Some(every) => Ok(Rule::Every(ScheduledRule { arn, every, targets })),
                None => Err(Error::unsupported(
                    self.id,
                    format!("the schedule {expression:?}"),
                )),
            },
            _ => Err(Error::invalid(
                self.id,
                "a rule has an EventPattern, or on the default bus a ScheduleExpression",
            )),
        }
    }

    pub(super) fn topic(self) -> Result<Topic, Error> {
        self.properties::<Map<String, Value>>(&resource::TOPIC)?;
        Ok(Topic {
            arn: self.resolver.location.arn("sns", self.id),
        })
    }

    pub(super) fn subscription(self) -> Result<Subscription, Error> {
        let properties: SubscriptionProperties = self.properties(&resource::SUBSCRIPTION)?;
        if properties.protocol != "sqs" {
            let what = format!("a subscription by {}", properties.protocol);
            return Err(Error::unsupported(self.id, what));
        }
        Ok(Subscription {
            id: self.id.to_owned(),
            topic: properties.topic_arn,
            queue: last_of_arn(&properties.endpoint),
            delivery: if properties.raw_message_delivery {
                TopicDelivery::Raw
            } else {
                TopicDelivery::Envelope
            },
        })
    }

    /// A resource that only has a name.
    pub(super) fn named(self, known: &Known) -> Result<String, Error> {
        self.properties::<Map<String, Value>>(known)?;
        Ok(self.id.to_owned())
    }

    /// Only the trust policy is read, unresolved: permissions may use any intrinsic function.
    pub(super) fn role(self) -> Role {
        let statements = self.written.pointer("/AssumeRolePolicyDocument/Statement");
        let statements = statements.and_then(Value::as_array).into_iter().flatten();
        let services = statements
            .filter_map(|statement| statement.pointer("/Principal/Service"))
            .flat_map(|service| match service {
                Value::Array(services) => services.iter().collect(),
                service => vec![service],
            })
            .filter_map(|service| Some(service.as_str()?.to_owned()))
            .collect();
        Role {
            arn: self.resolver.location.role_arn(self.id),
            services,
        }
    }

    fn properties<T: DeserializeOwned>(self, known: &Known) -> Result<T, Error> {
        if let Some(stranger) = known.stranger(self.written) {
            return Err(Error::unsupported(self.id, format!("the property {stranger}")));
        }
        serde_json::from_value(Value::Object(self.used(known)?))
            .map_err(|error| Error::invalid(self.id, error.to_string()))
    }

    /// The supported properties, resolved.
    fn used(self, known: &Known) -> Result<Map<String, Value>, Error> {
        let written = known
            .used
            .iter()
            .filter_map(|name| Some((*name, self.written.get(name)?)));
        written
            .map(|(name, value)| Ok((name.to_owned(), self.resolver.resolve(self.id, value)?)))
            .collect()
    }
}

/// The name of the account's own bus.
pub(crate) const DEFAULT_BUS: &str = "default";

/// A bus is given by name or by ARN, which ends in its name.
fn last_of_path(name: &str) -> String {
    name.rsplit('/').next().unwrap_or_default().to_owned()
}

fn last_of_arn(arn: &str) -> String {
    arn.rsplit(':').next().unwrap_or_default().to_owned()
}

/// A rule of EventBridge.
pub(super) enum Rule {
    Of(EventRule),
    Every(ScheduledRule),
}

fn event_pattern(id: &str, pattern: &Value) -> Result<EventPattern, Error> {
    let mut faults = Faults::default();
    let pattern = EventPattern::parse(pattern, "EventPattern", &mut faults);
    faults.none_in(pattern).map_err(|faults| {
        let first = faults.into_iter().next();
        let what = first.map_or_else(String::new, |fault| format!("{} {}", fault.pointer, fault.detail));
        Error::invalid(id, what)
    })
}

/// The time of `rate(15 minutes)`.
fn rate(expression: &str) -> Option<Duration> {
    let rate = expression.strip_prefix("rate(")?.strip_suffix(')')?;
    let (number, unit) = rate.split_once(' ')?;
    let number: u64 = number.parse().ok().filter(|number| *number > 0)?;
    let minutes = match unit {
        "minute" | "minutes" => 1,
        "hour" | "hours" => 60,
        "day" | "days" => 24 * 60,
        _ => return None,
    };
    Some(Duration::from_mins(number.checked_mul(minutes)?))
}
