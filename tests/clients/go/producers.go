// Sends reports, one JSON object a line, with sarama or kafka-go: `app <client> default|documented`,
// the latter with the settings that docs/apps.md has for it.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"log"
	"os"

	"github.com/IBM/sarama"
	"github.com/segmentio/kafka-go"
	kafkago "github.com/segmentio/kafka-go/sasl/scram"
	"github.com/xdg-go/scram"
)

const topic = "intake.metro"

var bootstrap, user, password = os.Getenv("KAFKA_BOOTSTRAP"), os.Getenv("KAFKA_USER"), os.Getenv("KAFKA_PASSWORD")

// login is what sarama's users write themselves.
type login struct{ *scram.ClientConversation }

func (l *login) Begin(user, password, authzID string) error {
	client, err := scram.SHA256.NewClient(user, password, authzID)
	if err == nil {
		l.ClientConversation = client.NewConversation()
	}
	return err
}

func withSarama(uids, lines []string, documented bool) {
	config := sarama.NewConfig()
	config.Net.SASL.Enable = true
	config.Net.SASL.Mechanism = sarama.SASLTypeSCRAMSHA256
	config.Net.SASL.User, config.Net.SASL.Password = user, password
	config.Net.SASL.SCRAMClientGeneratorFunc = func() sarama.SCRAMClient { return &login{} }
	config.Producer.Return.Successes = true
	if documented {
		config.Producer.Partitioner = newMurmur2
		config.Producer.RequiredAcks = sarama.WaitForAll
		config.Producer.Idempotent = true
		config.Net.MaxOpenRequests = 1
	}
	producer, err := sarama.NewSyncProducer([]string{bootstrap}, config)
	check(err)
	for i, uid := range uids {
		value := sarama.StringEncoder(lines[i])
		_, _, err := producer.SendMessage(&sarama.ProducerMessage{Topic: topic, Key: sarama.StringEncoder(uid), Value: value})
		check(err)
	}
	check(producer.Close())
}

func withKafkaGo(uids, lines []string, documented bool) {
	mechanism, err := kafkago.Mechanism(kafkago.SHA256, user, password)
	check(err)
	writer := &kafka.Writer{Addr: kafka.TCP(bootstrap), Topic: topic, Transport: &kafka.Transport{SASL: mechanism}}
	if documented {
		writer.Balancer = kafka.Murmur2Balancer{}
		writer.RequiredAcks = kafka.RequireAll
	}
	var messages []kafka.Message
	for i, uid := range uids {
		messages = append(messages, kafka.Message{Key: []byte(uid), Value: []byte(lines[i])})
	}
	check(writer.WriteMessages(context.Background(), messages...))
	check(writer.Close())
}

func main() {
	var uids, lines []string
	for input := bufio.NewScanner(os.Stdin); input.Scan(); {
		var report struct{ UID string }
		check(json.Unmarshal(input.Bytes(), &report))
		uids, lines = append(uids, report.UID), append(lines, input.Text())
	}
	with := map[string]func(uids, lines []string, documented bool){"sarama": withSarama, "kafka-go": withKafkaGo}
	with[os.Args[1]](uids, lines, os.Args[2] == "documented")
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
