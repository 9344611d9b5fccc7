#include "sim/clients.h"

#include <algorithm>

namespace jade::sim {

Clients::Clients(const SimulationOptions& options, Run& run, Cluster& cluster)
    : run_(run), cluster_(cluster), patience_ms_(options.patience_ms), clients_(options.clients) {
  for (uint32_t i = 0; i < cluster.size() * options.watchers; ++i) {
    clients_.emplace_back().watches = i % cluster.size();
  }
  cluster.when_ended([this](size_t machine, bool) { process_ended(machine); });
}

void Clients::drive(const std::function<void(uint32_t)>& ask) {
  for (uint32_t i = 0; i < clients_.size(); ++i) {
    Client& client = clients_[i];
    if (client.busy && run_.now_ns() >= client.patient_until_ns) give_up(client);
    if (client.busy || client.ready_ns > run_.now_ns() || !find_node(client)) continue;
    client.busy = true;
    client.process = cluster_.node(client.machine).starts();
    client.request = ++requests_;
    if (patience_ms_ > 0) {
      client.patient_until_ns = run_.now_ns() + (1 + run_.draw(2 * patience_ms_)) * ms;
    }
    ask(i);
  }
}

// Any node answers; one that is down refuses the connection.
bool Clients::find_node(Client& client) {
  client.machine = client.watches ? *client.watches : cluster_.pick_member();
  if (cluster_.running(client.machine)) return true;
  client.ready_ns = run_.now_ns() + 20 * ms;
  return false;
}

// Does something else, whatever comes of the request.
void Clients::give_up(Client& client) {
  given_up_.emplace(client.machine, client.request);
  client.busy = false;
  client.ready_ns = run_.now_ns();
}

// Whatever was asked of it is unanswered for good.
void Clients::process_ended(size_t machine) {
  for (Client& client : clients_) {
    if (!client.busy || client.machine != machine) continue;
    client.busy = false;
    client.ready_ns = run_.now_ns() + run_.draw(50) * ms;
  }
  std::erase_if(given_up_, [machine](const auto& one) { return one.first == machine; });
}

void Clients::check_write_error(const Status& status) {
  ++run_.report().writes_failed;
  cluster_.check_error(status);
}

uint64_t Clients::next_ns() const {
  uint64_t next = never;
  for (const Client& client : clients_) {
    next = std::min(next, client.busy ? client.patient_until_ns : client.ready_ns);
  }
  return next;
}

bool Clients::idle() const {
  return given_up_.empty() && std::none_of(clients_.begin(), clients_.end(),
                                           [](const Client& client) { return client.busy; });
}

}  // namespace jade::sim
