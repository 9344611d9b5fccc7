// What an import does while the server is busy, away or behind a proxy that is.
#include <doctest/doctest.h>

#include <utility>

#include "apps/import/importer.h"
#include "tests/apps/scratch_dir.h"
#include "tests/apps/scripted_server.h"

namespace jade {
namespace {

using std::chrono::milliseconds;

// One sender and three rows, one a request.
struct Import {
  ScratchDir dir;
  ImportOptions options;
  std::atomic<bool> stop{false};
  std::vector<int64_t> waits;  // ms

  Import() {
    options.database = "db";
    options.connections = 1;
    options.batch_rows = 1;
    options.wait = [this](milliseconds how_long) { waits.push_back(how_long.count()); };
  }

  Result<ImportOutcome> run(const ScriptedServer& server) {
    options.url = server.url();
    return run();
  }
  Result<ImportOutcome> run() {
    auto reader = open_vectors(
        dir.write("a.ndjson", "{\"id\":\"a\"}\n{\"id\":\"b\"}\n{\"id\":\"c\"}\n"), std::nullopt);
    REQUIRE(reader.ok());
    return run_import(
        **reader, options, stop, [](const ImportProgress&) {},
        [this](const std::string& message) { said.push_back(message); });
  }

  std::vector<std::string> said;
};

const std::string a = R"({"vectors":[{"id":"a"}]})";
const std::string b = R"({"vectors":[{"id":"b"}]})";
const std::string c = R"({"vectors":[{"id":"c"}]})";

}  // namespace

TEST_CASE_FIXTURE(Import, "a busy server is asked again when it said, with the same rows") {
  ScriptedServer server({refusal(429, "resource_exhausted", "2"),
                         refusal(503, "unavailable", "3"),
                         {},
                         refusal(504, "deadline_exceeded", "1")});
  auto outcome = run(server);
  REQUIRE_MESSAGE(outcome.ok(), outcome.status().to_string());
  CHECK(waits == std::vector<int64_t>{2000, 3000, 1000});
  CHECK(server.requests() == std::vector<std::string>{a, a, a, b, b, c});
  CHECK(outcome->rows == 3);
  CHECK(outcome->rows_done == 3);
  CHECK(!outcome->interrupted);
}

TEST_CASE_FIXTURE(Import, "a server that does not say when is asked ever more rarely") {
  std::deque<Answer> answers(9, refusal(503, "unavailable", ""));
  // What is no number of seconds says nothing; one that says something counts once.
  answers[1].retry_after = "Wed, 21 Oct 2026 07:28:00 GMT";
  answers[3].retry_after = "1";
  answers.emplace_back();
  answers.push_back(refusal(503, "unavailable", ""));
  ScriptedServer server(answers);
  REQUIRE(run(server).ok());
  // The next request has patience anew.
  CHECK(waits == std::vector<int64_t>{50, 100, 200, 1000, 400, 800, 1600, 3200, 5000, 50});
}

TEST_CASE_FIXTURE(Import, "no server makes an import wait for long") {
  ScriptedServer server({refusal(503, "unavailable", "3600"),
                         refusal(503, "unavailable", "4294968"),
                         refusal(503, "unavailable", "4294967295")});
  REQUIRE(run(server).ok());
  CHECK(waits == std::vector<int64_t>{5000, 5000, 5000});
}

TEST_CASE_FIXTURE(Import, "a proxy's refusals and broken connections are tried again as well") {
  ScriptedServer server({{503, "2", "<html>", false},
                         {502, "", "<html>", false},
                         {429, "", "", false},
                         {200, "", "", true}});
  auto outcome = run(server);
  REQUIRE_MESSAGE(outcome.ok(), outcome.status().to_string());
  // The connection that broke had been kept alive, so that the client itself tried
  // once more, at once.
  CHECK(waits == std::vector<int64_t>{2000, 50, 100});
  CHECK(server.requests() == std::vector<std::string>{a, a, a, a, a, b, c});
}

TEST_CASE_FIXTURE(Import, "what is sent again has the key that it had, each request its own") {
  options.request_prefix = "import-1";
  ScriptedServer server({refusal(503, "unavailable", ""), {}, {200, "", "", true}});
  REQUIRE(run(server).ok());
  auto keys = server.keys();
  REQUIRE(keys.size() == 5);
  CHECK(server.requests() == std::vector<std::string>{a, a, b, b, c});
  CHECK(keys == std::vector<std::string>{"import-1-0-1", "import-1-0-1", "import-1-1-1",
                                         "import-1-1-1", "import-1-2-1"});
}

TEST_CASE_FIXTURE(Import, "the next node takes over where one does not answer, with the same key") {
  options.request_prefix = "import-1";
  // One that is busy is asked again.
  ScriptedServer first(
      {refusal(429, "resource_exhausted", ""), {}, {200, "", "", true}, {200, "", "", true}});
  ScriptedServer second({{}, refusal(503, "unavailable", ""), {}});
  std::string dead = ScriptedServer({}).url();
  options.url = first.url() + "," + dead + "," + second.url();
  auto outcome = run();
  REQUIRE_MESSAGE(outcome.ok(), outcome.status().to_string());
  CHECK(outcome->rows == 3);
  CHECK(first.requests() == std::vector<std::string>{a, a, b, b, c});
  CHECK(second.requests() == std::vector<std::string>{b, c});
  CHECK(first.keys()[2] == second.keys()[0]);
  CHECK(second.keys()[1] == first.keys()[4]);
}

TEST_CASE_FIXTURE(Import, "the next node takes over where one hangs") {
  options.patience_ms = 50;
  HungServer hung;
  ScriptedServer good({});
  options.url = hung.url() + "," + good.url();
  auto outcome = run();
  REQUIRE_MESSAGE(outcome.ok(), outcome.status().to_string());
  CHECK(outcome->rows == 3);
  CHECK(good.requests() == std::vector<std::string>{a, b, c});
}

TEST_CASE_FIXTURE(Import, "what will not pass by waiting ends the import at once") {
  for (const auto& [status, code] :
       {std::pair(500, "internal"), {507, "disk_full"}, {404, "not_found"}}) {
    ScriptedServer server({{}, refusal(static_cast<unsigned>(status), code, "1")});
    auto outcome = run(server);
    REQUIRE(!outcome.ok());
    CHECK(to_string(outcome.status().code()) == code);
    CHECK(outcome.status().message() == std::string("no") + code);
    CHECK(server.requests() == std::vector<std::string>{a, b});
  }
  CHECK(waits.empty());
}

TEST_CASE_FIXTURE(Import, "a server that stays busy is given up after so many retries") {
  options.retries_max = 3;
  ScriptedServer server(std::deque<Answer>(9, refusal(429, "resource_exhausted", "1")));
  auto outcome = run(server);
  REQUIRE(!outcome.ok());
  CHECK(outcome.status().code() == Code::resource_exhausted);
  CHECK(outcome.status().message() == "gave up after 3 retries: noresource_exhausted");
  CHECK(server.requests() == std::vector<std::string>(4, a));
  CHECK(waits.size() == 3);
}

TEST_CASE_FIXTURE(Import, "what is tried again for long is said, but not each time") {
  std::deque<Answer> answers(18, refusal(503, "unavailable", ""));
  answers.emplace_back();
  for (int i = 0; i < 6; ++i) answers.push_back(refusal(503, "unavailable", ""));
  ScriptedServer server(std::move(answers));
  REQUIRE(run(server).ok());
  CHECK(said == std::vector<std::string>{"still trying (6 of 100 retries): nounavailable",
                                         "still trying (16 of 100 retries): nounavailable",
                                         "still trying (6 of 100 retries): nounavailable"});
}

TEST_CASE_FIXTURE(Import, "of several nodes the one that answers says why nothing goes on") {
  options.retries_max = 7;
  std::string dead = ScriptedServer({}).url();
  ScriptedServer lost(std::deque<Answer>(9, refusal(503, "unavailable", "")));
  for (const std::string& urls : {dead + "," + lost.url(), lost.url() + "," + dead}) {
    options.url = urls;
    said.clear();
    auto outcome = run();
    REQUIRE(!outcome.ok());
    std::string why = lost.url() + ": nounavailable";
    CHECK(said == std::vector<std::string>{"still trying (6 of 7 retries): " + why});
    CHECK(outcome.status().message() == "gave up after 7 retries: " + why);
  }
  // Where nobody answers, the last that was asked.
  options.url = dead;
  auto outcome = run();
  REQUIRE(!outcome.ok());
  CHECK(outcome.status().message().ends_with("Connection refused"));
}

TEST_CASE_FIXTURE(Import, "a stop while it waits for a busy server ends it where it was") {
  options.wait = [this](milliseconds) { stop = true; };
  ScriptedServer server({{}, refusal(429, "resource_exhausted", "1")});
  auto outcome = run(server);
  REQUIRE_MESSAGE(outcome.ok(), outcome.status().to_string());
  CHECK(outcome->interrupted);
  CHECK(outcome->rows_done == 1);
  CHECK(server.requests() == std::vector<std::string>{a, b});
}

}  // namespace jade
