// Membranes in memory, LANES to a word, with a pipeline that adds a word every cycle.
//
// Reading and writing take a cycle each, so a word can be wanted again before its sum is back: it is then
// taken from the adder. Between two steps the scan uses both ports.
module snn_accumulator #(
    parameter LANES = 8,
    parameter BITS = 16,
    parameter WORDS = 2,
    parameter ADDRESS = 1
) (
    input wire clk,
    input wire add,
    input wire [ADDRESS-1:0] add_address,
    input wire [LANES*BITS-1:0] add_data,
    input wire scan,
    input wire [ADDRESS-1:0] scan_address,
    output wire [LANES*BITS-1:0] scan_data,
    input wire write,
    input wire [ADDRESS-1:0] write_address,
    input wire [LANES*BITS-1:0] write_data
);
    reg adding, again;
    reg [ADDRESS-1:0] address;
    reg [LANES*BITS-1:0] addend, sum, last;

    snn_ram #(.WIDTH(LANES * BITS), .DEPTH(WORDS)) memory (
        .clk(clk),
        .read(add || scan),
        .read_address(add ? add_address : scan_address),
        .read_data(scan_data),
        .write(adding || write),
        .write_address(adding ? address : write_address),
        .write_data(adding ? sum : write_data)
    );

    integer i;
    always @* begin
        for (i = 0; i < LANES; i = i + 1)
            sum[i*BITS +: BITS] = addend[i*BITS +: BITS]
                + (again ? last[i*BITS +: BITS] : scan_data[i*BITS +: BITS]);
    end

    always @(posedge clk) begin
        adding <= add;
        again <= adding && address == add_address;
        address <= add_address;
        addend <= add_data;
        last <= sum;
    end
endmodule
